"""A Kademlia DHT in memory, walked by `KnownPeers` on a clock that only the test moves.

Honest peers have the routing tables of Kademlia: up to 20 peers of each distance. Liars are in
these tables like the others, and answer with peers that they choose.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.dialling import Endpoint
from phase_boot.libp2p_node.known_peers import KnownPeers, Request

BUCKET: Final = 20
PORT: Final = 4001
HONEST_SECONDS: Final = 0.1
SECONDS: Final = 3.0
"""Time for one request."""
WHOLE_SECONDS: Final = 10.0
"""Time for a look-up."""

Named = tuple[PeerId, tuple[Endpoint, ...]]
Lie = Callable[["SimulatedDht"], list[Named]]


def position(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest())


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request to an endpoint yields; ``named`` is None where it fails."""

    seconds: float
    named: list[Named] | None


@dataclass
class SimulatedDht:
    """The peers, by the endpoint at which each is.

    Attributes:
        lie: what a liar names.
        sybil: what an invented peer does when it is asked.
    """

    key: bytes
    lie: Lie = lambda _: []
    sybil: Callable[[SimulatedDht], Reply] = lambda _: Reply(0.001, None)
    chance: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - the same network in each run
    places: dict[PeerId, Endpoint] = field(default_factory=dict)
    liars: set[PeerId] = field(default_factory=set)
    positions: dict[PeerId, int] = field(default_factory=dict)
    hosts: count[int] = field(default_factory=count)

    def add(self, number: int, *, lying: float = 0.0) -> None:
        """Add peers, a part of which lies."""
        for _ in range(number):
            peer = self.new_id()
            self.places[peer] = self.new_endpoint()
            self.positions[peer] = position(peer.multihash)
            if self.chance.random() < lying:
                self.liars.add(peer)

    def new_id(self) -> PeerId:
        return PeerId(b"\x00\x24\x08\x01\x12\x20" + self.chance.randbytes(32))

    def new_endpoint(self) -> Endpoint:
        """Return a public address that no other peer has."""
        number = next(self.hosts)
        return (f"20.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", PORT)

    def closest(self, peers: Iterable[PeerId], most: int = BUCKET) -> list[PeerId]:
        target = position(self.key)
        return heapq.nsmallest(most, peers, key=lambda peer: self.positions[peer] ^ target)

    def near(self) -> PeerId:
        """Return an invented id that is closer to the key than most that exist."""
        target = position(self.key)
        tried = (self.new_id() for _ in range(64))
        return min(tried, key=lambda peer: position(peer.multihash) ^ target)

    def table(self, peer: PeerId) -> list[PeerId]:
        """Return the routing table of an honest peer."""
        buckets: dict[int, list[PeerId]] = {}
        for other, place in self.positions.items():
            if other != peer:
                distance = place ^ self.positions[peer]
                buckets.setdefault(distance.bit_length(), []).append(other)
        chosen = (self.chance.sample(each, min(BUCKET, len(each))) for each in buckets.values())
        return [other for each in chosen for other in each]

    def ask(self, peer: PeerId, endpoints: Sequence[Endpoint]) -> Reply:
        if peer not in self.places:
            return self.sybil(self)
        if self.places[peer] not in endpoints:
            return Reply(0.001, None)
        if peer in self.liars:
            return Reply(0.01, self.lie(self))
        found = self.closest(self.table(peer))
        return Reply(HONEST_SECONDS, [(each, (self.places[each],)) for each in found])


@dataclass
class Outcome:
    """The honest peers that answered, and how many requests were made."""

    answered: set[PeerId] = field(default_factory=set)
    asked: int = 0


def walk(dht: SimulatedDht, bootstrap: Iterable[PeerId]) -> Outcome:
    """Look the key up from these peers, until the walk or its time ends."""
    known, outcome, now = KnownPeers(dht.key), Outcome(), 0.0
    for peer in bootstrap:
        known.enter(peer, (dht.places[peer],))
    ends: list[tuple[float, int, Request, list[Named] | None]] = []
    while True:
        while (request := known.next()) is not None:
            reply = dht.ask(request.known.peer, request.known.endpoints)
            named = reply.named if reply.seconds < SECONDS else None
            outcome.asked += 1
            end = now + min(reply.seconds, SECONDS)
            heapq.heappush(ends, (end, outcome.asked, request, named))
        if not ends or ends[0][0] > WHOLE_SECONDS:
            return outcome
        now, _, request, answer = heapq.heappop(ends)
        if answer is None:
            known.failed(request)
            continue
        known.answered(request)
        known.learn(request.known, answer[:BUCKET])
        if request.known.peer in dht.places and request.known.peer not in dht.liars:
            outcome.answered.add(request.known.peer)
