"""A look-up in the Kademlia DHT: asks peers that are closer and closer to a key.

The walk is that of the specification "kad-dht", with requests kept back for peers that others do
not name as the closest (`known_peers`). It ends when no such peer is left. Ten requests run at
once, beside those to the bootstrap peers, so peers that hang cost time only if all of them do.
What peers answer is reported as it is: the caller decides what it believes, and cancels the walk
when it has enough.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from phase_boot.content import varint
from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.dialling import DIAL_SECONDS, Endpoint, connect, named, resolved
from phase_boot.libp2p_node.host import Node, PeerFailed, Stream
from phase_boot.libp2p_node.kad_message import (
    MAX_MESSAGE,
    DhtAnswer,
    MessageType,
    decode_answer,
    encode_request,
)
from phase_boot.libp2p_node.known_peers import KnownPeer, KnownPeers, Request
from phase_boot.url import Scope

RPC_SECONDS: Final = 3.0
"""Time for one peer, with the connection to it."""
PATIENCE: Final = (1, 2, 4)
"""Times by which `RPC_SECONDS` and `DIAL_SECONDS` grow while no peer answers."""
PUBLIC_DHT: Final = "/ipfs/kad/1.0.0"
LOCAL_DHT: Final = "/ipfs/lan/kad/1.0.0"
"""The DHT of nodes that reach one another by private addresses (kubo's LAN DHT)."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of each peer."""

    kind: MessageType
    key: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """The answer of a peer, with the address at which it answered."""

    peer: PeerId
    endpoint: Endpoint
    answer: DhtAnswer


@dataclass(slots=True)
class Tally:
    """How many peers answered, and how many failed."""

    peers: int = 0
    refused: int = 0


async def look_up(
    node: Node,
    query: Query,
    bootstrap: Iterable[Multiaddr],
    told: Callable[[Told], Awaitable[None]],
    seconds: float,
) -> Tally:
    """Walk from ``bootstrap`` towards the key, for at most ``seconds``; report each answer.

    A walk on which no peer answered is repeated, with more time for each peer: a slow machine or
    line needs more than suits the others.
    """
    addresses, tally = tuple(bootstrap), Tally()
    with trio.move_on_after(seconds):
        for patience in PATIENCE:
            walk = _Walk(node, query, told, tally, patience)
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    nursery.start_soon(walk.enter, address, nursery)
            if tally.peers:
                break
    return tally


class _Walk:
    """One walk, and the requests that run."""

    def __init__(
        self,
        node: Node,
        query: Query,
        told: Callable[[Told], Awaitable[None]],
        tally: Tally,
        patience: int,
    ) -> None:
        """Count into ``tally``; each peer has ``patience`` times the usual time."""
        self._node = node
        self._query = query
        self._told = told
        self._known = KnownPeers(query.key)
        self._tally = tally
        self._patience = patience

    async def enter(self, address: Multiaddr, nursery: trio.Nursery) -> None:
        """Add a peer that the parent named, wherever it is."""
        if address.peer is None:
            return
        try:
            endpoints = await resolved(address)
        except PeerFailed:
            self._tally.refused += 1
            return
        self._known.enter(address.peer, endpoints)
        self._ask_next(nursery)

    def _ask_next(self, nursery: trio.Nursery) -> None:
        """Start as many requests as may run."""
        while (request := self._known.next()) is not None:
            nursery.start_soon(self._ask, request, nursery)

    async def _ask(self, request: Request, nursery: trio.Nursery) -> None:
        known = request.known
        try:
            with trio.fail_after(RPC_SECONDS * self._patience):
                scope, answer = await self._request(known)
        except (PeerFailed, trio.TooSlowError):
            self._known.failed(request)
            self._tally.refused += 1
        else:
            self._known.answered(request)
            self._tally.peers += 1
            self._known.learn(known, self._named(answer, scope))
            await self._told(Told(known.peer, known.endpoints[0], answer))
        self._ask_next(nursery)

    async def _request(self, known: KnownPeer) -> tuple[Scope, DhtAnswer]:
        """Return the scope of a peer's address, and its answer."""
        scope = await connect(
            self._node, known.peer, known.endpoints, DIAL_SECONDS * self._patience
        )
        near = scope is not Scope.PUBLIC
        protocols = (LOCAL_DHT, PUBLIC_DHT) if near else (PUBLIC_DHT, LOCAL_DHT)
        stream = await self._node.open_stream(known.peer, protocols)
        try:
            return scope, await _exchange(stream, self._query)
        finally:
            await stream.close()

    def _named(
        self, answer: DhtAnswer, nearest: Scope
    ) -> list[tuple[PeerId, tuple[Endpoint, ...]]]:
        """Return the peers that an answer names, where they may be dialled."""
        return [
            (entry.peer, named(entry.addresses, nearest))
            for entry in answer.closer
            if entry.peer != self._node.peer
        ]


async def _exchange(stream: Stream, query: Query) -> DhtAnswer:
    """Send the request and return the answer; raise PeerFailed if it is none."""
    request = encode_request(query.kind, query.key)
    await stream.write(varint.encode(len(request)) + request)
    try:
        return decode_answer(await read_message(stream, MAX_MESSAGE))
    except ValueError as error:
        raise PeerFailed(f"it sent no answer: {error}") from None


async def read_message(stream: Stream, most: int) -> bytes:
    """Return a message that its length precedes, as a varint.

    Raises:
        PeerFailed: the stream ends, or the message has more than ``most`` bytes.
    """
    head = bytearray()
    while not head or head[-1] & 0x80:
        byte = await stream.read(1)
        if not byte or len(head) >= varint.MAX_BYTES:
            raise PeerFailed("it sent no message")
        head += byte
    length, _ = varint.decode(head)
    if length > most:
        raise PeerFailed(f"it sent a message of {length} bytes")
    message = bytearray()
    while len(message) < length:
        piece = await stream.read(length - len(message))
        if not piece:
            raise PeerFailed("it ended within a message")
        message += piece
    return bytes(message)
