"""Swarm state of one artifact: the pieces that each peer has, and those assigned to it.

Unlike a BitTorrent tracker, this one assigns each piece of its own upload to one peer. So the
provider's uplink carries about one copy of the artifact, however many peers download it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final, TypeAlias

from phase_boot.provider.addresses import ClientAddress, client_address
from phase_boot.provider.eviction import Entry, victim
from phase_boot.provider.limits import Limits

MIN_ASSIGNED: Final = 8
MAX_ASSIGNED: Final = 1024
"""Bounds on the pieces assigned to one peer at once; its quota shrinks as the swarm grows."""
BATCHES: Final = 4
"""A peer's quota is assigned in this many batches."""
MIN_TO_REASSIGN: Final = 4
"""A peer with fewer assigned pieces than this keeps them."""
SLOW_SECONDS: Final = 2.0
"""Time without a new piece after which a peer counts as slow."""
_FREE_RUN: Final = re.compile("1+")
PeerAddress: TypeAlias = tuple[str, int]
"""The source address of a peer's requests, and the port on which it says it listens."""


@dataclass(slots=True)
class _PeerState:
    client: ClientAddress
    last_seen: float
    last_progress: float
    """Time of its last new piece or last assignment."""
    have: int = 0
    assigned: int = 0
    """Pieces that it may request from this provider and does not have yet."""
    next_piece: int = 0
    """The piece after its last assigned one; assignments continue there."""


@dataclass(frozen=True, slots=True)
class TrackerReply:
    """The pieces that a peer may request from the provider, and peers that have others."""

    assigned: int
    peers: tuple[tuple[PeerAddress, int], ...]


class TrackedSwarm:
    """The peers that download one artifact, each until it stops announcing.

    All of it is unverified: a false announcement costs other peers a failed request, after which
    they request the piece from the provider.
    """

    def __init__(self, count: int, limits: Limits) -> None:
        """Begin with no peers, for an artifact of ``count`` pieces."""
        self._count = count
        self._limits = limits
        self._peers: dict[PeerAddress, _PeerState] = {}
        self._random = random.Random()  # noqa: S311 - the order of peers is no secret

    def __len__(self) -> int:
        return len(self._peers)

    def expire(self, now: float) -> None:
        """Remove peers that have not announced within `Limits.peer_seconds`."""
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
        """Record an announcement, and return the peer's assignment and other peers.

        In a full swarm, the address with the most peers loses one to a newcomer from another
        address. A peer for which there is no room gets the list of peers, but no assignment. Peers
        in ``failed`` do not answer this peer: the reply leaves them out, and pieces that only they
        have, or that are assigned to them, may be assigned to it. Replies to others still name
        them.

        Args:
            address: the peer that announces.
            have: the pieces that it has, as a bit mask.
            want: the number of pieces that it wants to be assigned.
            now: the current time in seconds.
            failed: peers that do not answer it.
        """
        self.expire(now)
        peer = self._peers.get(address)
        if peer is None:
            client = client_address(address[0])
            if self._make_room(client):
                peer = self._peers[address] = _PeerState(client, now, now)
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
        """Remove a peer that announced that it stops."""
        self._peers.pop(address, None)

    def _make_room(self, newcomer: ClientAddress) -> bool:
        """Return whether there is room for one more peer; evict one if needed."""
        limits = self._limits
        clients = [each.client for each in self._peers.values()]
        if clients.count(newcomer) >= limits.peers_per_address:
            return False
        of_network = sum(each.network == newcomer.network for each in clients)
        crowded = of_network >= limits.peers_per_network
        if not crowded and len(clients) < limits.peers:
            return True
        entries = [
            Entry(address, each.client, idle=False, rank=each.last_seen)
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
            # It does not download its assignment: release the pieces to others.
            peer.assigned = 0

    def _assign(
        self, peer: _PeerState, want: int, now: float, failed: frozenset[PeerAddress]
    ) -> None:
        """Assign pieces that no peer has or is assigned, adjacent to its last ones if possible."""
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
                # The middle of the longest free run is farthest from all other peers.
                first, end = max(runs, key=lambda run: run[1] - run[0])
                first += (end - first) // 2 if end - first > want else 0
            end = min(end, first + want)
            granted, peer.next_piece = (1 << end) - (1 << first), end
        if granted:
            peer.assigned |= granted
            peer.last_progress = now

    def _reassign_slow(self, peer: _PeerState, now: float) -> int:
        """Move the later half of the slowest peer's assignment, when no free piece is left."""
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
        # Round-robin over hosts: a host that announces many ports must not displace the others.
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
