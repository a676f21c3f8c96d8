"""What every drill of the suite shares: an end, and the words that repeat it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from phase_boot.drill.invariants import verdicts
from phase_boot.drill.plan import Plan
from phase_boot.drill.run import Run, perform
from phase_boot.drill.scenes import SCENES

PATIENCE_SECONDS = 20.0
"""In real time: a loop that never waits is out of asyncio's reach, and out of a virtual clock's."""


class Loops(BaseException):
    """Nothing waited for so long that this can only be a loop without an end."""


def _loops(_number: int, _frame: FrameType | None) -> None:
    raise Loops


@pytest.fixture(autouse=True)
def _no_endless_loop() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _loops)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def drilled(name: str, plan: Plan) -> Run:
    """Boot a scene with a plan, and have every invariant hold."""
    run = perform(SCENES[name](), plan)
    broken = [verdict for verdict in verdicts(run) if not verdict.holds]
    assert not broken, "\n".join(
        [
            f"{name}, struck by {', '.join(str(blow) for blow, _ in plan.struck) or 'nothing'}:",
            *(f"- not true that {verdict.says}: {verdict.broken}" for verdict in broken),
            *run.scene.lines.lines,
        ]
    )
    return run
