"""Events of the system clock."""

from __future__ import annotations

from dataclasses import dataclass, field

from phase_boot.journal.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class WallClockSet(Event):
    """The system clock was set, by the reckoned now or by a person; never the hardware clock."""

    event = "clock.set"
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WallClockNotSet(Event):
    """The system clock stays as it was, behind what is known: certificates may seem not valid."""

    event = "clock.not_set"
    lasting = True
    wanted: str = field(compare=False)
    reason: str
