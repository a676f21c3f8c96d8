"""Who fetches one artifact at the same time: what each holds, and who takes what from us."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final, TypeAlias

from phase_boot.provider.addresses import Origin, origin_of
from phase_boot.provider.eviction import Entry, victim
from phase_boot.provider.limits import Limits

LEAST_AT_ONCE: Final = 8
MOST_AT_ONCE: Final = 1024
"""Stretches that one machine may be about to take from us: fewer, the more machines there are."""
SHARES: Final = 4
"""In so many shares each takes what falls to it."""
LEAST_TO_SHARE: Final = 4
"""Who is about to take fewer than so many is left alone."""
SLOW_SECONDS: Final = 2.0
"""Who has nothing new for so long is slow."""
_RUN: Final = re.compile("1+")
Caller: TypeAlias = tuple[str, int]
"""The address that a machine calls from, and the port at which it says that it answers."""


@dataclass(slots=True)
class _Notice:
    origin: Origin
    seen: float
    moved: float
    """When it last had more than before, or was given something to take."""
    held: int = 0
    allotted: int = 0
    """What it may take from us and does not have yet."""
    after: int = 0
    """The stretch after the last one that it was given."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a machine may take from us now, and who holds what it does not."""

    yours: int
    others: tuple[tuple[Caller, int], ...]


class Meeting:
    """The machines that fetch one artifact, as long as each says that it still does.

    Everything here is hearsay. Who lies makes others ask in vain, until they ask us.
    """

    def __init__(self, count: int, limits: Limits) -> None:
        """Begin with nobody, for an artifact of so many stretches."""
        self._count = count
        self._limits = limits
        self._notices: dict[Caller, _Notice] = {}
        self._chance = random.Random()  # noqa: S311 - who is told of whom is no secret

    def __len__(self) -> int:
        return len(self._notices)

    def forget(self, now: float) -> None:
        """Leave out whoever has not said anything lately."""
        before = now - self._limits.peer_seconds
        for caller in [who for who, notice in self._notices.items() if notice.seen < before]:
            del self._notices[caller]

    def exchange(
        self,
        caller: Caller,
        *,
        held: int,
        wants: int,
        now: float,
        failed: frozenset[Caller] = frozenset(),
    ) -> Reply:
        """Take what a machine says of itself, and answer what it may do now.

        A machine that there is no room for is told of others, and given nothing to take. In a full
        meeting the address with the most machines loses one to a newcomer from another address.
        Peers in ``failed`` do not answer this machine: it is not told of them, and may take from us
        what only they hold or were to take. Other machines are told of them as before.
        """
        self.forget(now)
        notice = self._notices.get(caller)
        if notice is None:
            origin = origin_of(caller[0])
            if self._makes_room(origin):
                notice = self._notices[caller] = _Notice(origin, now, now)
        if notice is not None:
            self._note(notice, held, now)
            fair = min(max(LEAST_AT_ONCE, self._count // (SHARES * len(self))), MOST_AT_ONCE)
            wants = min(wants, fair) - notice.allotted.bit_count()
            if wants > 0:
                self._allot(notice, wants, now, failed)
        return Reply(notice.allotted if notice else 0, self._others(held, {caller, *failed}))

    def remove(self, caller: Caller) -> None:
        """Leave out a machine that says that it stops."""
        self._notices.pop(caller, None)

    def _makes_room(self, newcomer: Origin) -> bool:
        """Say whether there is room for one more, after an eviction where that is needed."""
        limits = self._limits
        origins = [each.origin for each in self._notices.values()]
        if origins.count(newcomer) >= limits.peers_of_an_address:
            return False
        of_network = sum(each.network == newcomer.network for each in origins)
        crowded = of_network >= limits.peers_of_a_network
        if not crowded and len(origins) < limits.peers:
            return True
        entries = [
            Entry(caller, each.origin, idle=False, rank=each.seen)
            for caller, each in self._notices.items()
        ]
        evicted = victim(entries, newcomer, same_network=crowded)
        if evicted is None:
            return False
        del self._notices[evicted]
        return True

    def _note(self, notice: _Notice, held: int, now: float) -> None:
        if held & ~notice.held:
            notice.moved = now
        notice.seen, notice.held = now, held
        notice.allotted &= ~held
        if now - notice.moved > self._limits.allotted_seconds:
            # It does not take what it was given: somebody else may.
            notice.allotted = 0

    def _allot(self, notice: _Notice, wants: int, now: float, failed: frozenset[Caller]) -> None:
        """Give the machine some of what nobody has or is taking, next to what it took before."""
        claimed = notice.held
        for who, each in self._notices.items():
            if who not in failed:
                claimed |= each.held | each.allotted
        free = format(~claimed & ((1 << self._count) - 1), f"0{self._count}b")[::-1]
        runs = [found.span() for found in _RUN.finditer(free)]
        if not runs:
            given = 0 if notice.allotted else self._shared(notice, now)
        else:
            after = notice.after
            if free[after : after + 1] == "1":
                first, end = next(run for run in runs if run[0] <= after < run[1])
                first = after
            else:
                # Far from where all others are.
                first, end = max(runs, key=lambda run: run[1] - run[0])
                first += (end - first) // 2 if end - first > wants else 0
            end = min(end, first + wants)
            given, notice.after = (1 << end) - (1 << first), end
        if given:
            notice.allotted |= given
            notice.moved = now

    def _shared(self, notice: _Notice, now: float) -> int:
        """Take the later half of what a slow one is about to take, once nothing else is left."""
        slow = [each for each in self._notices.values() if now - each.moved > SLOW_SECONDS]
        victim = max(slow, key=lambda each: each.allotted.bit_count(), default=notice)
        wanted = victim.allotted & ~notice.held
        if victim is notice or wanted.bit_count() < LEAST_TO_SHARE:
            return 0
        given = 0
        for _ in range(wanted.bit_count() // 2):
            top = 1 << (wanted.bit_length() - 1)
            wanted, given = wanted & ~top, given | top
        victim.allotted &= ~given
        return given

    def _others(self, held: int, without: set[Caller]) -> tuple[tuple[Caller, int], ...]:
        useful = [
            (who, notice.held)
            for who, notice in self._notices.items()
            if who not in without and notice.held & ~held
        ]
        self._chance.shuffle(useful)
        # Hosts take turns, so that one that announces many ports does not displace the others.
        turns = Counter[str]()
        ranked = []
        for who, theirs in useful:
            ranked.append((turns[who[0]], who, theirs))
            turns[who[0]] += 1
        ranked.sort(key=lambda each: each[0])
        return tuple((who, theirs) for _, who, theirs in ranked[: self._limits.peers_told])
