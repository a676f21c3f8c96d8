"""Which fault strikes where: decided before the boot, told after it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Final

from phase_boot.drill.members import Kind, Member
from phase_boot.drill.virtual_time import VirtualClock, VirtualLoop
from phase_boot.machine.graph import State

FAR: Final = timedelta(days=365 * 40)
NAP: Final = 3 * 86_400.0
"""Seconds that pass at once when a lid is closed over a weekend."""


class Fault(StrEnum):
    """What goes wrong."""

    REFUSE = "refuse"
    """The error that the port's own description names."""
    HANG = "hang"
    TEAR = "tear"
    """Half of it, and then the end."""
    CORRUPT = "corrupt"
    """One bit, or one field, is another."""
    LIE = "lie"
    """Success is reported, and nothing was done or something else."""
    NO_SPACE = "enospc"
    IO_ERROR = "eio"
    CLOCK_AHEAD = "clock-ahead"
    CLOCK_BACK = "clock-back"
    CANCEL = "cancel"
    """Somebody stops the whole run while this is being asked."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A member of a port, asked in a state."""

    member: str
    state: str


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault at one place."""

    fault: Fault
    place: Place
    which: int = 0
    """Which of the documented errors, for `REFUSE`; after how many pieces, for a stream."""
    first: int = 1
    """The call of this place that it strikes, from 1."""
    lasting: bool = False
    """Whether every later call is struck too."""

    def __str__(self) -> str:
        """Return a name by which a test can be asked for."""
        number = f"{self.which}" if self.which or self.fault is Fault.REFUSE else ""
        when = f"{self.first}{'+' if self.lasting else ''}"
        return f"{self.place.member}-{self.fault}{number}-in-{self.place.state}-{when}"

    def strikes(self, place: Place, call: int) -> bool:
        """Say whether the ``call``th call of ``place`` is struck."""
        return place == self.place and (call >= self.first if self.lasting else call == self.first)


class JumpingClock(VirtualClock):
    """A clock that somebody sets while it is being read."""

    def __init__(self) -> None:
        super().__init__()
        self._set_by = timedelta()
        self._slept = 0.0

    def jump(self, by: timedelta, *, nap: float = 0.0) -> None:
        """Set the date, and let ``nap`` seconds of suspension pass."""
        self._set_by += by
        self._slept += nap

    def monotonic(self) -> float:
        return super().monotonic() + self._slept

    def wall(self) -> datetime:
        return super().wall() + self._set_by


@dataclass
class Plan:
    """The faults of one boot, and the count of what was asked."""

    blows: tuple[Blow, ...] = ()
    seed: str = ""
    clock: JumpingClock = field(default_factory=JumpingClock)
    tell: Callable[[Blow, Place], object] = lambda _blow, _place: None
    state: str = "outside"
    """The state whose handler runs now."""
    asked: Counter[Place] = field(default_factory=Counter)
    threaded: set[Place] = field(default_factory=set)
    """Where a thread asks, which alone may wait without the whole daemon waiting."""
    struck: list[tuple[Blow, Place]] = field(default_factory=list)
    streams: int = 0
    """How many are open."""
    task: asyncio.Task[object] | None = None

    def __post_init__(self) -> None:
        self.chance = Random(f"{self.seed}{[str(blow) for blow in self.blows]}")

    def entering(self, state: State) -> None:
        """From here on it is ``state`` that asks."""
        self.state = state.value

    def strike(self, member: Member) -> Blow | None:
        """Count a call and return what strikes it."""
        place = Place(str(member), self.state)
        self.asked[place] += 1
        threaded = VirtualLoop.in_thread()
        if threaded:
            self.threaded.add(place)
        for blow in self.blows:
            if blow.strikes(place, self.asked[place]):
                waits = threaded or member.kind in {Kind.COROUTINE, Kind.STREAM}
                if blow.fault is Fault.HANG and not waits:
                    continue
                self.struck.append((blow, place))
                self.tell(blow, place)
                return blow
        return None

    def cancel(self) -> None:
        """Stop the run, as systemd does."""
        if self.task is not None:
            self.task.cancel()
