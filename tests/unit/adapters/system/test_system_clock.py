from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from phase_boot.adapters.system import system_clock
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.ports.clock import ClockNotSet

SETTING = """
import os, sys
from datetime import UTC, datetime
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.ports.clock import ClockNotSet
if os.geteuid() == 0:
    os.setuid(65534)
try:
    SystemClock(settable=True).set_wall(datetime(2020, 1, 1, tzinfo=UTC))
except ClockNotSet as failure:
    sys.exit(str(failure))
"""


def test_the_clock_of_a_desktop_is_never_set() -> None:
    before = datetime.now(UTC)
    with pytest.raises(ClockNotSet, match="only a stick"):
        SystemClock().set_wall(datetime(2020, 1, 1, tzinfo=UTC))
    assert SystemClock().wall() >= before


def test_without_the_right_to_set_the_clock_it_is_reported_and_unchanged() -> None:
    before = time.time()
    done = subprocess.run(
        [sys.executable, "-c", SETTING], check=False, capture_output=True, text=True
    )
    assert done.stderr.strip() == "the kernel refuses: Operation not permitted"
    assert time.time() >= before


def test_the_status_of_the_kernels_adjustment_is_read_without_any_right() -> None:
    # Bits that the kernel has (linux/timex.h): anything else was read from the wrong place.
    assert 0 <= system_clock._adjustment_status() < 1 << 16  # noqa: SLF001 - what is read back
