"""Time limits of a drill: a loop that never waits, and a call that blocks."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

PROCESSOR_SECONDS = 20.0
"""Limit for a loop that never waits, which asyncio and the virtual clock cannot end: processor
time, so that a busy machine is no failure."""
BLOCKED_SECONDS = 180.0
"""Limit in real time for a call that blocks."""


class DrillTimeout(BaseException):
    """The drill took so long that it must be an endless loop or a blocked call."""


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
