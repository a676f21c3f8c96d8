"""What every drill of the suite shares: an end, and the words that repeat it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

PROCESSOR_SECONDS = 20.0
"""A loop that never waits is out of asyncio's reach, and out of a virtual clock's. Processor time,
so that a busy machine is no failure."""
BLOCKED_SECONDS = 180.0
"""In real time, for what neither runs nor ends."""


class Loops(BaseException):
    """Nothing waited for so long that this can only be a loop without an end."""


def _loops(_number: int, _frame: FrameType | None) -> None:
    raise Loops


@pytest.fixture(autouse=True)
def _no_endless_loop() -> Iterator[None]:
    before = {number: signal.signal(number, _loops) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
