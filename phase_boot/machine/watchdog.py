"""The watchdog: notifies the service manager while the driver is not stuck.

Notifications come from the driver's event loop, so a blocked loop sends none. None is sent either
for a state that continues after its budget because it ignores its cancellation. The service manager
then restarts the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from phase_boot.machine.graph import START, State
from phase_boot.ports.supervisor import Supervisor

GRACE_SECONDS: Final = 10
"""Time for a cancelled state to clean up."""


class Watchdog:
    """Notifies as long as the current state is within its budget."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._state = START
        self._deadline: float | None = None

    def entered(self, state: State, budget: float | None) -> None:
        """Notify for ``state`` until its budget is exceeded, or without end if it has none."""
        self._state = state
        self._deadline = None
        if budget is not None:
            self._deadline = asyncio.get_running_loop().time() + budget + GRACE_SECONDS
        self._beat()

    async def beat(self, period: float) -> None:
        """Notify every ``period`` seconds."""
        while True:
            await asyncio.sleep(period)
            if self._deadline is None or asyncio.get_running_loop().time() <= self._deadline:
                self._beat()

    def _beat(self) -> None:
        # A failed notification fails no boot; without any the service manager restarts the daemon.
        with contextlib.suppress(Exception):
            self._supervisor.alive(self._state.value)


@contextlib.asynccontextmanager
async def watchdog_running(supervisor: Supervisor) -> AsyncIterator[Watchdog]:
    """Notify ``supervisor`` of the start, and run the watchdog within the block."""
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
