"""The peers that a look-up knows, and which of them is asked next.

Ids cost nothing: a peer that lies can name any number of them that are closer to the key than every
honest one. If only distance counted, its inventions would use up the requests of a look-up. So half
of the requests go to the closest peers, and half in turn to the branches of the walk, as disjoint
paths do (Baumgart and Mies, "S/Kademlia", 2007, section 4.4). Each peer that a bootstrap peer names
begins a branch, to which all belong that are named in it. The branch that has cost least is the
next: a peer that fails costs more than one that answers.

What one peer says about another harms only its own branch: a peer that failed at the addresses that
one branch names is asked again at those of another one.
"""

from __future__ import annotations

import hashlib
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import IPv6Address
from typing import Final

from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.dialling import Endpoint
from phase_boot.url import Scope, scope_of

CLOSEST: Final = 20
"""Peers closest to the key that are asked: k of Kademlia."""
CLOSEST_OF_BRANCH: Final = 3
"""Peers of one branch that are asked at least, if they do not fail."""
MAX_PER_TURN: Final = 64
"""Requests by distance, and by branch: half of those of one look-up each."""
MAX_AT_ONCE: Final = 5
"""Requests of each of these kinds that run at once."""
MAX_FIRST_AT_ONCE: Final = 16
"""Requests to bootstrap peers that run at once: some may hang."""
MAX_PER_ADDRESS: Final = 3
"""Peers at one public address that a branch may name: ids cost nothing, addresses do."""
SITE_BITS: Final = 64
"""The part of an IPv6 address that one owner has at least (RFC 6177)."""
FAILURE_COST: Final = 3.0
"""What a peer that fails costs its branch, and one that is being asked."""
ANSWER_COST: Final = 0.3
"""What a peer that answers costs its branch."""
MAX_BRANCH_COST: Final = 3 * FAILURE_COST
"""From this cost on a branch gets no turn: requests to addresses of no peer fail at once."""

Branch = tuple[PeerId, ...]
"""The bootstrap peer that leads to a branch, and the peer with which it begins."""


class Turn(Enum):
    """Why a peer is asked."""

    FIRST = auto()
    """The parent names it."""
    CLOSEST = auto()
    FAIR = auto()


@dataclass(frozen=True, slots=True, order=True)
class KnownPeer:
    """A peer, as one branch names it."""

    distance: int
    peer: PeerId
    endpoints: tuple[Endpoint, ...]
    branch: Branch


@dataclass(frozen=True, slots=True)
class Request:
    """A peer that is being asked."""

    known: KnownPeer
    turn: Turn


@dataclass(slots=True)
class _Peer:
    """The requests to one peer."""

    busy: bool = False
    answered: bool = False
    tried: set[Endpoint] = field(default_factory=set)


class KnownPeers:
    """The peers of one look-up. It performs no input or output, and knows no clock."""

    def __init__(self, key: bytes) -> None:
        """Take the key that is looked up."""
        self._target = _position(key)
        self._first: list[KnownPeer] = []
        self._all: list[KnownPeer] = []
        self._branches: defaultdict[Branch, list[KnownPeer]] = defaultdict(list)
        self._peers: defaultdict[PeerId, _Peer] = defaultdict(_Peer)
        self._at_address: Counter[tuple[Branch, str]] = Counter()
        self._cost: defaultdict[Branch, float] = defaultdict(float)
        self._made: Counter[Turn] = Counter()
        self._running: Counter[Turn] = Counter()

    def enter(self, peer: PeerId, endpoints: tuple[Endpoint, ...]) -> None:
        """Add a bootstrap peer, which is asked before all others."""
        self._first.append(self._known(peer, endpoints, (peer,)))

    def learn(
        self, informant: KnownPeer, named: Iterable[tuple[PeerId, tuple[Endpoint, ...]]]
    ) -> None:
        """Add the peers that another one names."""
        for peer, endpoints in named:
            begins = len(informant.branch) == 1
            branch = (*informant.branch, peer) if begins else informant.branch
            if self._has_room(informant.branch, endpoints):
                self._add(self._known(peer, endpoints, branch))

    def next(self) -> Request | None:
        """Return a peer to ask now, and count it as being asked; None if there is none."""
        for turn, found in (
            (Turn.FIRST, self._of_parent),
            (Turn.CLOSEST, self._closest),
            (Turn.FAIR, self._cheapest),
        ):
            known = found() if self._may(turn) else None
            if known is not None:
                return self._begin(known, turn)
        return None

    def answered(self, request: Request) -> None:
        """Take note that a peer has answered."""
        self._end(request, ANSWER_COST)
        self._peers[request.known.peer].answered = True

    def failed(self, request: Request) -> None:
        """Take note that a peer has failed at the addresses that were known."""
        self._end(request, FAILURE_COST)

    def _begin(self, known: KnownPeer, turn: Turn) -> Request:
        peer = self._peers[known.peer]
        peer.busy = True
        peer.tried.update(known.endpoints)
        self._made[turn] += 1
        self._running[turn] += 1
        self._charge(known.branch, FAILURE_COST)
        return Request(known, turn)

    def _end(self, request: Request, cost: float) -> None:
        self._peers[request.known.peer].busy = False
        self._running[request.turn] -= 1
        self._charge(request.known.branch, cost - FAILURE_COST)

    def _charge(self, branch: Branch, cost: float) -> None:
        """Let a request cost its branch, and the bootstrap peer that leads to it."""
        for part in {branch[:1], branch}:
            self._cost[part] += cost

    def _may(self, turn: Turn) -> bool:
        if turn is Turn.FIRST:
            return self._running[turn] < MAX_FIRST_AT_ONCE
        return self._made[turn] < MAX_PER_TURN and self._running[turn] < MAX_AT_ONCE

    def _of_parent(self) -> KnownPeer | None:
        return next(filter(self._is_unasked, self._first), None)

    def _closest(self) -> KnownPeer | None:
        return self._next_of(self._all, CLOSEST)

    def _cheapest(self) -> KnownPeer | None:
        """Return a peer of the branch that has cost least; of several, the closest one."""
        best, least = None, (0.0, 0.0, 0)
        # The share of one bootstrap peer, so that none spends the turns of the others.
        most = FAILURE_COST * MAX_PER_TURN / max(1, len(self._first))
        for branch, members in self._branches.items():
            if self._cost[branch[:1]] >= most or self._cost[branch] >= MAX_BRANCH_COST:
                continue
            known = self._next_of(members, CLOSEST_OF_BRANCH)
            if known is None:
                continue
            cost = (self._cost[branch[:1]], self._cost[branch], known.distance)
            if best is None or cost < least:
                best, least = known, cost
        return best

    def _next_of(self, members: list[KnownPeer], most: int) -> KnownPeer | None:
        """Return the closest unasked peer among the ``most`` closest that have not failed."""
        seen = set[PeerId]()
        for known in members:
            if known.peer not in seen and self._is_unasked(known):
                return known
            peer = self._peers[known.peer]
            if peer.busy or peer.answered:
                seen.add(known.peer)
            if len(seen) >= most:
                return None
        return None

    def _is_unasked(self, known: KnownPeer) -> bool:
        """Return whether a peer may be asked at addresses at which it was not asked before."""
        peer = self._peers[known.peer]
        return not (peer.busy or peer.answered or peer.tried.issuperset(known.endpoints))

    def _known(self, peer: PeerId, endpoints: tuple[Endpoint, ...], branch: Branch) -> KnownPeer:
        return KnownPeer(self._target ^ _position(peer.multihash), peer, endpoints, branch)

    def _add(self, known: KnownPeer) -> None:
        insort(self._all, known)
        insort(self._branches[known.branch], known)

    def _has_room(self, branch: Branch, endpoints: tuple[Endpoint, ...]) -> bool:
        """Count the addresses that a branch names; return whether each has room for a peer."""
        sites = {(branch, site) for site in _public_sites(endpoints)}
        if not endpoints or any(self._at_address[each] >= MAX_PER_ADDRESS for each in sites):
            return False
        self._at_address.update(sites)
        return True


def _public_sites(endpoints: Iterable[Endpoint]) -> Iterator[str]:
    """Yield the public IPv4 addresses, and the IPv6 networks of one owner."""
    for host, _ in endpoints:
        if scope_of(host) is Scope.PUBLIC:
            yield host if ":" not in host else str(int(IPv6Address(host)) >> (128 - SITE_BITS))


def _position(key: bytes) -> int:
    """Return where a key is in the space of Kademlia: the XOR of two positions is a distance."""
    return int.from_bytes(hashlib.sha256(key).digest())
