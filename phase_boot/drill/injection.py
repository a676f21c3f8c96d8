"""Faults, injection points, and the plan that decides which call fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from random import Random
from typing import Final, NamedTuple

from phase_boot.drill.members import Kind, Member
from phase_boot.drill.virtual_time import VirtualClock, VirtualLoop
from phase_boot.machine.graph import State

DATE_JUMP: Final = timedelta(days=365 * 40)
SUSPENSION_SECONDS: Final = 3 * 86_400.0
"""The suspension that comes with a jump ahead: a weekend."""


class FaultKind(StrEnum):
    """Kinds of faults."""

    REFUSE = "refuse"
    """An error that the port documents."""
    HANG = "hang"
    TEAR = "tear"
    """Half of the value, the stream or the write."""
    CORRUPT = "corrupt"
    """One bit or one field is changed."""
    LIE = "lie"
    """Success is reported although nothing or something else was done."""
    NO_SPACE = "enospc"
    IO_ERROR = "eio"
    CLOCK_AHEAD = "clock-ahead"
    CLOCK_BACK = "clock-back"
    CANCEL = "cancel"
    """The run is cancelled during the call."""


class InjectionPoint(NamedTuple):
    """A member of a port that is called in a state.

    A tuple, because each call of a boot makes, hashes and compares one.
    """

    member: str
    state: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault at one injection point."""

    kind: FaultKind
    point: InjectionPoint
    which: int = 0
    """For `REFUSE` the number of the documented error; for a stream the pieces before the fault."""
    first: int = 1
    """The first call of this point that fails, from 1."""
    lasting: bool = False
    """Whether every later call fails too."""

    def __str__(self) -> str:
        """Return the id of the fault in test names."""
        number = f"{self.which}" if self.which or self.kind is FaultKind.REFUSE else ""
        when = f"{self.first}{'+' if self.lasting else ''}"
        return f"{self.point.member}-{self.kind}{number}-in-{self.point.state}-{when}"

    def matches(self, point: InjectionPoint, call: int) -> bool:
        """Say whether the ``call``th call of ``point`` fails."""
        return point == self.point and (call >= self.first if self.lasting else call == self.first)


class JumpingClock(VirtualClock):
    """A clock whose date is set during a run."""

    def __init__(self) -> None:
        super().__init__()
        self._date_offset = timedelta()
        self._suspended = 0.0

    def jump(self, by: timedelta, *, suspended: float = 0.0) -> None:
        """Set the date, and let ``suspended`` seconds pass."""
        self._date_offset += by
        self._suspended += suspended

    def monotonic(self) -> float:
        return super().monotonic() + self._suspended

    def wall(self) -> datetime:
        return super().wall() + self._date_offset


@dataclass
class Plan:
    """The faults of one boot, and the number of calls at each injection point."""

    faults: tuple[Fault, ...] = ()
    seed: str = ""
    clock: JumpingClock = field(default_factory=JumpingClock)
    on_fault: Callable[[Fault, InjectionPoint], object] = lambda _fault, _point: None
    state: str = "outside"
    """The state whose handler runs now."""
    calls: Counter[InjectionPoint] = field(default_factory=Counter)
    threaded: set[InjectionPoint] = field(default_factory=set)
    """Points that a thread calls: only there may a plain method hang."""
    injected: list[tuple[Fault, InjectionPoint]] = field(default_factory=list)
    streams: int = 0
    """Number of open streams."""
    task: asyncio.Task[object] | None = None

    def __post_init__(self) -> None:
        self.chance = Random(f"{self.seed}{[str(fault) for fault in self.faults]}")

    def entering(self, state: State) -> None:
        """Attribute the calls from now on to ``state``."""
        self.state = state.value

    def inject(self, member: Member) -> Fault | None:
        """Count a call and return the fault that it gets."""
        point = InjectionPoint(str(member), self.state)
        self.calls[point] = call = self.calls[point] + 1
        threaded = VirtualLoop.in_thread()
        if threaded:
            self.threaded.add(point)
        for fault in self.faults:
            if fault.matches(point, call):
                waits = threaded or member.kind in {Kind.COROUTINE, Kind.STREAM}
                if fault.kind is FaultKind.HANG and not waits:
                    continue
                self.injected.append((fault, point))
                self.on_fault(fault, point)
                return fault
        return None

    def cancel(self) -> None:
        """Cancel the run, as systemd stops the daemon."""
        if self.task is not None:
            self.task.cancel()
