"""Time limits of a drill, for endless loops and blocked calls."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

PROCESSOR_SECONDS = 20.0
"""Limit for a loop that never waits, which asyncio cannot end. It counts processor time, so that
other load on the host has no effect."""
BLOCKED_SECONDS = 180.0
"""Limit in real time for a call that blocks."""


class DrillTimeout(BaseException):
    """The drill exceeded a time limit."""


def _time_out(_number: int, _frame: FrameType | None) -> None:
    raise DrillTimeout


@pytest.fixture(autouse=True)
def _no_endless_loop() -> Iterator[None]:
    before = {
        number: signal.signal(number, _time_out) for number in (signal.SIGPROF, signal.SIGALRM)
    }
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
