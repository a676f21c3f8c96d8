"""Which fault is injected where: planned before the boot, counted during it."""

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


class FaultKind(StrEnum):
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
class InjectionPoint:
    """A member of a port, asked in a state."""

    member: str
    state: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault at one injection point."""

    kind: FaultKind
    point: InjectionPoint
    which: int = 0
    """Which of the documented errors, for `REFUSE`; after how many pieces, for a stream."""
    first: int = 1
    """The first call of this point that fails, from 1."""
    lasting: bool = False
    """Whether every later call fails too."""

    def __str__(self) -> str:
        """Return a name by which a test can be asked for."""
        number = f"{self.which}" if self.which or self.kind is FaultKind.REFUSE else ""
        when = f"{self.first}{'+' if self.lasting else ''}"
        return f"{self.point.member}-{self.kind}{number}-in-{self.point.state}-{when}"

    def matches(self, point: InjectionPoint, call: int) -> bool:
        """Say whether the ``call``th call of ``point`` fails."""
        return point == self.point and (call >= self.first if self.lasting else call == self.first)


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

    faults: tuple[Fault, ...] = ()
    seed: str = ""
    clock: JumpingClock = field(default_factory=JumpingClock)
    tell: Callable[[Fault, InjectionPoint], object] = lambda _fault, _point: None
    state: str = "outside"
    """The state whose handler runs now."""
    asked: Counter[InjectionPoint] = field(default_factory=Counter)
    threaded: set[InjectionPoint] = field(default_factory=set)
    """Where a thread asks, which alone may wait without the whole daemon waiting."""
    injected: list[tuple[Fault, InjectionPoint]] = field(default_factory=list)
    streams: int = 0
    """How many are open."""
    task: asyncio.Task[object] | None = None

    def __post_init__(self) -> None:
        self.chance = Random(f"{self.seed}{[str(fault) for fault in self.faults]}")

    def entering(self, state: State) -> None:
        """From here on it is ``state`` that asks."""
        self.state = state.value

    def inject(self, member: Member) -> Fault | None:
        """Count a call and return the fault that it gets."""
        point = InjectionPoint(str(member), self.state)
        self.asked[point] += 1
        threaded = VirtualLoop.in_thread()
        if threaded:
            self.threaded.add(point)
        for fault in self.faults:
            if fault.matches(point, self.asked[point]):
                waits = threaded or member.kind in {Kind.COROUTINE, Kind.STREAM}
                if fault.kind is FaultKind.HANG and not waits:
                    continue
                self.injected.append((fault, point))
                self.tell(fault, point)
                return fault
        return None

    def cancel(self) -> None:
        """Stop the run, as systemd does."""
        if self.task is not None:
            self.task.cancel()
