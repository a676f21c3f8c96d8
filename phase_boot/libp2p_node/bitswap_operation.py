"""The operation ``block``: one block by its CID, from peers that the parent names.

A request has ``cid``, ``limit`` (bytes of the largest block), ``seconds`` and ``peers``: each with
``peer``, its id, ``addresses``, and ``nearest``, the scope of the nearest address that may be
dialled. The answer has ``block``, in base64, and ``peer``, which sent it; without a block the end
has the reason. Many requests run at the same time and share the connections.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node import dialling
from phase_boot.libp2p_node.bitswap_exchange import Connect, Exchange
from phase_boot.libp2p_node.host import Node, PeerFailed
from phase_boot.libp2p_node.program import Answer, Fields, RequestFailed
from phase_boot.url import Scope

DIAL_SECONDS: Final = 4.0
"""Time for one address: a look-up has other peers to ask, and a block may have none."""
MAX_ADDRESSES: Final = 8
"""Addresses of one peer that are looked at."""


class BlockOperation:
    """Implements `program.Operation` over one exchange, which the first request starts."""

    def __init__(self) -> None:
        """Start nothing."""
        self._exchange: Exchange | None = None

    async def __call__(self, node: Node, request: Fields, answer: Answer) -> Mapping[str, object]:
        """Answer with the block; raise RequestFailed if no peer sent it."""
        if self._exchange is None:
            self._exchange = Exchange(node)
            node.background.start_soon(self._exchange.run)
        try:
            cid = Cid.parse(request["cid"])
            peers = dict(_peer(node, each) for each in request["peers"])
        except ValueError as error:
            raise RequestFailed(str(error)) from None
        outcome = await self._exchange.block(
            cid, limit=request["limit"], peers=peers, seconds=request["seconds"]
        )
        if outcome.block is None:
            raise RequestFailed(outcome.reason)
        block = base64.b64encode(outcome.block).decode()
        await answer({"block": block, "peer": outcome.peer})
        return {}


def _peer(node: Node, entry: Fields) -> tuple[PeerId, Connect]:
    """Return a peer, and how it is connected with; raise ValueError for no id or scope."""
    peer, nearest = PeerId.parse(entry["peer"]), Scope(entry["nearest"])
    addresses = list[Multiaddr]()
    for text in entry["addresses"][:MAX_ADDRESSES]:
        with suppress(ValueError):
            addresses.append(Multiaddr.parse(text))
    return peer, partial(_connect, node, peer, addresses, nearest)


async def _connect(node: Node, peer: PeerId, addresses: list[Multiaddr], nearest: Scope) -> None:
    """Connect with a peer at a permitted address; raise PeerFailed."""
    if node.is_connected(peer):
        return
    endpoints = list[dialling.Endpoint]()
    for address in addresses:
        with suppress(PeerFailed):
            endpoints += await dialling.resolved(address)
    await dialling.connect(node, peer, dialling.permitted(endpoints, nearest), DIAL_SECONDS)
