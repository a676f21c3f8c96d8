"""Sets the system clock, so that TLS judges certificates at the time of the boot (ADR 0004)."""

from __future__ import annotations

from datetime import datetime

from phase_boot.journal.run_events import WallClockNotSet, WallClockSet
from phase_boot.machine.handler import Ports
from phase_boot.ports.clock import ClockNotSet


def advance(ports: Ports, now: datetime) -> None:
    """Set the system clock to ``now`` if it is behind; a failure is only reported."""
    if ports.clock.wall() < now:
        set_clock(ports, now)


def set_clock(ports: Ports, to: datetime) -> str | None:
    """Set the system clock and return None, or return the reason of the failure."""
    before = ports.clock.wall()
    try:
        ports.clock.set_wall(to)
    except ClockNotSet as failure:
        ports.emit(WallClockNotSet(wanted=_shown(to), reason=str(failure)))
        return str(failure)
    ports.emit(WallClockSet(before=_shown(before), after=_shown(to)))
    return None


def _shown(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
