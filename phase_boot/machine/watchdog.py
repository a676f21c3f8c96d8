"""A sign of life to the supervisor, for as long as the driver is not stuck.

It comes from the driver's own event loop, so a loop that is blocked gives none; and none is
given for a state that goes on after its budget was spent, because it does not let itself be
cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from phase_boot.machine.graph import START, State
from phase_boot.ports.supervisor import Supervisor

GRACE_SECONDS: Final = 10
"""For a state to clean up when it was cancelled."""


class Watchdog:
    """What the driver tells of its way."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._state = START
        self._deadline: float | None = None

    def entered(self, state: State, budget: float | None) -> None:
        """Give signs for ``state`` until its budget is spent, or for ever if it has none."""
        self._state = state
        self._deadline = None
        if budget is not None:
            self._deadline = asyncio.get_running_loop().time() + budget + GRACE_SECONDS
        self._beat()

    async def beat(self, period: float) -> None:
        """Give a sign every ``period`` seconds."""
        while True:
            await asyncio.sleep(period)
            if self._deadline is None or asyncio.get_running_loop().time() <= self._deadline:
                self._beat()

    def _beat(self) -> None:
        # Whoever listens in vain starts us again; a boot does not end because nobody can be told.
        with contextlib.suppress(Exception):
            self._supervisor.alive(self._state.value)


@contextlib.asynccontextmanager
async def watchdog_running(supervisor: Supervisor) -> AsyncIterator[Watchdog]:
    """Tell ``supervisor`` that the boot begins, and then that it goes on."""
    watchdog, period = Watchdog(supervisor), None
    with contextlib.suppress(Exception):
        supervisor.ready()
        period = supervisor.period
    if period is None or not period > 0:
        yield watchdog
        return
    beating = asyncio.create_task(watchdog.beat(period), name="watchdog")
    try:
        yield watchdog
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
