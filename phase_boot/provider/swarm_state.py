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

MIN_ASSIGNED: Final = 8
MAX_ASSIGNED: Final = 1024
"""Stretches that one machine may be about to take from us: fewer, the more machines there are."""
BATCHES: Final = 4
"""In so many shares each takes what falls to it."""
MIN_TO_REASSIGN: Final = 4
"""Who is about to take fewer than so many is left alone."""
SLOW_SECONDS: Final = 2.0
"""Who has nothing new for so long is slow."""
_FREE_RUN: Final = re.compile("1+")
PeerAddress: TypeAlias = tuple[str, int]
"""The address that a machine calls from, and the port at which it says that it answers."""


@dataclass(slots=True)
class _PeerState:
    origin: Origin
    last_seen: float
    last_progress: float
    """When it last had more than before, or was given something to take."""
    have: int = 0
    assigned: int = 0
    """What it may take from us and does not have yet."""
    next_piece: int = 0
    """The stretch after the last one that it was given."""


@dataclass(frozen=True, slots=True)
class TrackerReply:
    """What a machine may take from us now, and who holds what it does not."""

    assigned: int
    peers: tuple[tuple[PeerAddress, int], ...]


class TrackedSwarm:
    """The machines that fetch one artifact, as long as each says that it still does.

    Everything here is hearsay. Who lies makes others ask in vain, until they ask us.
    """

    def __init__(self, count: int, limits: Limits) -> None:
        """Begin with nobody, for an artifact of so many stretches."""
        self._count = count
        self._limits = limits
        self._peers: dict[PeerAddress, _PeerState] = {}
        self._random = random.Random()  # noqa: S311 - who is told of whom is no secret

    def __len__(self) -> int:
        return len(self._peers)

    def expire(self, now: float) -> None:
        """Leave out whoever has not said anything lately."""
        before = now - self._limits.peer_seconds
        for address in [
            address for address, peer in self._peers.items() if peer.last_seen < before
        ]:
            del self._peers[address]

    def announce(
        self,
        address: PeerAddress,
        *,
        have: int,
        want: int,
        now: float,
        failed: frozenset[PeerAddress] = frozenset(),
    ) -> TrackerReply:
        """Take what a machine says of itself, and answer what it may do now.

        A machine that there is no room for is told of others, and given nothing to take. In a full
        meeting the address with the most machines loses one to a newcomer from another address.
        Peers in ``failed`` do not answer this machine: it is not told of them, and may take from us
        what only they hold or were to take. Other machines are told of them as before.
        """
        self.expire(now)
        peer = self._peers.get(address)
        if peer is None:
            origin = origin_of(address[0])
            if self._make_room(origin):
                peer = self._peers[address] = _PeerState(origin, now, now)
        if peer is not None:
            self._update_peer(peer, have, now)
            fair = min(max(MIN_ASSIGNED, self._count // (BATCHES * len(self))), MAX_ASSIGNED)
            want = min(want, fair) - peer.assigned.bit_count()
            if want > 0:
                self._assign(peer, want, now, failed)
        return TrackerReply(
            peer.assigned if peer else 0, self._select_peers(have, {address, *failed})
        )

    def remove(self, address: PeerAddress) -> None:
        """Leave out a machine that says that it stops."""
        self._peers.pop(address, None)

    def _make_room(self, newcomer: Origin) -> bool:
        """Say whether there is room for one more, after an eviction where that is needed."""
        limits = self._limits
        origins = [each.origin for each in self._peers.values()]
        if origins.count(newcomer) >= limits.peers_per_address:
            return False
        of_network = sum(each.network == newcomer.network for each in origins)
        crowded = of_network >= limits.peers_per_network
        if not crowded and len(origins) < limits.peers:
            return True
        entries = [
            Entry(address, each.origin, idle=False, rank=each.last_seen)
            for address, each in self._peers.items()
        ]
        evicted = victim(entries, newcomer, same_network=crowded)
        if evicted is None:
            return False
        del self._peers[evicted]
        return True

    def _update_peer(self, peer: _PeerState, have: int, now: float) -> None:
        if have & ~peer.have:
            peer.last_progress = now
        peer.last_seen, peer.have = now, have
        peer.assigned &= ~have
        if now - peer.last_progress > self._limits.assigned_seconds:
            # It does not take what it was given: somebody else may.
            peer.assigned = 0

    def _assign(
        self, peer: _PeerState, want: int, now: float, failed: frozenset[PeerAddress]
    ) -> None:
        """Give the machine some of what nobody has or is taking, next to what it took before."""
        taken = peer.have
        for address, each in self._peers.items():
            if address not in failed:
                taken |= each.have | each.assigned
        free = format(~taken & ((1 << self._count) - 1), f"0{self._count}b")[::-1]
        runs = [found.span() for found in _FREE_RUN.finditer(free)]
        if not runs:
            granted = 0 if peer.assigned else self._reassign_slow(peer, now)
        else:
            next_piece = peer.next_piece
            if free[next_piece : next_piece + 1] == "1":
                first, end = next(run for run in runs if run[0] <= next_piece < run[1])
                first = next_piece
            else:
                # Far from where all others are.
                first, end = max(runs, key=lambda run: run[1] - run[0])
                first += (end - first) // 2 if end - first > want else 0
            end = min(end, first + want)
            granted, peer.next_piece = (1 << end) - (1 << first), end
        if granted:
            peer.assigned |= granted
            peer.last_progress = now

    def _reassign_slow(self, peer: _PeerState, now: float) -> int:
        """Take the later half of what a slow one is about to take, once nothing else is left."""
        slow = [each for each in self._peers.values() if now - each.last_progress > SLOW_SECONDS]
        victim = max(slow, key=lambda each: each.assigned.bit_count(), default=peer)
        wanted = victim.assigned & ~peer.have
        if victim is peer or wanted.bit_count() < MIN_TO_REASSIGN:
            return 0
        granted = 0
        for _ in range(wanted.bit_count() // 2):
            top = 1 << (wanted.bit_length() - 1)
            wanted, granted = wanted & ~top, granted | top
        victim.assigned &= ~granted
        return granted

    def _select_peers(
        self, have: int, excluded: set[PeerAddress]
    ) -> tuple[tuple[PeerAddress, int], ...]:
        useful = [
            (address, peer.have)
            for address, peer in self._peers.items()
            if address not in excluded and peer.have & ~have
        ]
        self._random.shuffle(useful)
        # Hosts take turns, so that one that announces many ports does not displace the others.
        turns = Counter[str]()
        ranked = []
        for address, peer_have in useful:
            ranked.append((turns[address[0]], address, peer_have))
            turns[address[0]] += 1
        ranked.sort(key=lambda each: each[0])
        return tuple(
            (address, peer_have)
            for _, address, peer_have in ranked[: self._limits.max_peers_returned]
        )
