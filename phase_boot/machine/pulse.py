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
from phase_boot.ports.clock import Clock
from phase_boot.ports.supervisor import Supervisor

GRACE_SECONDS: Final = 10
"""For a state to clean up when it was cancelled."""


class Pulse:
    """What the driver tells of its way."""

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._state = START
        self._until: float | None = None

    def entered(self, state: State, budget: float | None) -> None:
        """Give signs for ``state`` until its budget is spent, or for ever if it has none."""
        self._state = state
        self._until = None
        if budget is not None:
            self._until = self._clock.monotonic() + budget + GRACE_SECONDS
        self._beat()

    async def beat(self, period: float) -> None:
        """Give a sign every ``period`` seconds."""
        while True:
            await self._clock.sleep(period)
            if self._until is None or self._clock.monotonic() <= self._until:
                self._beat()

    def _beat(self) -> None:
        self._supervisor.alive(self._state.value)


@contextlib.asynccontextmanager
async def pulsing(supervisor: Supervisor, clock: Clock) -> AsyncIterator[Pulse]:
    """Tell ``supervisor`` that the boot begins, and then that it goes on."""
    pulse = Pulse(supervisor, clock)
    supervisor.ready()
    if supervisor.period is None:
        yield pulse
        return
    beating = asyncio.create_task(pulse.beat(supervisor.period))
    try:
        yield pulse
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
