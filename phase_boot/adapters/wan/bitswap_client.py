"""Requests blocks, and their providers, from the process that speaks libp2p."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from phase_boot.adapters.wan.libp2p_client import Libp2pClient
from phase_boot.content.cid import Cid
from phase_boot.content.peer_id import PeerId
from phase_boot.ports.block_exchange import MAX_PEERS, BlockPeer
from phase_boot.ports.dht import DhtFailed
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import Scope

MAX_ADDRESSES: Final = 8
"""Addresses of one peer that are passed on."""
MAX_ADDRESS: Final = 512
"""Characters of the longest address that is passed on."""


class BitswapClient:
    """Implements `ports.block_exchange.BlockExchange`."""

    def __init__(self, process: Libp2pClient) -> None:
        """Take the process; the first request starts it."""
        self._process = process

    async def block(
        self, cid: Cid, *, limit: int, peers: Sequence[BlockPeer], seconds: float
    ) -> bytes:
        """Return a block, as the process sent it; see the port."""
        request = {
            "cid": str(cid),
            "limit": limit,
            "seconds": seconds,
            "peers": [_entry(peer) for peer in peers[:MAX_PEERS]],
        }
        try:
            async with aclosing(self._process.request("block", request, answers=2)) as answers:
                async for answer in answers:
                    return _block_in(answer, limit)
        except DhtFailed as failure:
            raise FetchFailed(str(failure), retryable=True) from failure
        raise FetchFailed("the process that speaks libp2p sent no block", retryable=False)

    async def providers(
        self, cid: Cid, *, bootstrap: tuple[str, ...], nearest: Scope, seconds: float
    ) -> AsyncGenerator[BlockPeer, None]:
        """Yield the peers that the DHT names; see the port."""
        request = {"cid": str(cid), "bootstrap": bootstrap, "seconds": seconds}
        try:
            async with aclosing(self._process.request("providers", request)) as answers:
                async for answer in answers:
                    found = _provider_in(answer, nearest)
                    if found is not None:
                        yield found
        except DhtFailed as failure:
            raise FetchFailed(str(failure), retryable=True) from failure


def _entry(peer: BlockPeer) -> dict[str, object]:
    addresses = [each for each in peer.addresses if len(each) <= MAX_ADDRESS][:MAX_ADDRESSES]
    return {"peer": peer.peer, "addresses": addresses, "nearest": peer.nearest}


def _block_in(answer: Mapping[str, Any], limit: int) -> bytes:
    """Return the block of an answer; raise FetchFailed if there is none."""
    match answer:
        case {"block": str() as text} if len(text) <= 2 * limit + 4:
            try:
                return base64.b64decode(text, validate=True)
            except ValueError:
                pass
    raise FetchFailed("the process that speaks libp2p sent no block", retryable=False)


def _provider_in(answer: Mapping[str, Any], nearest: Scope) -> BlockPeer | None:
    """Return the peer that an answer names; None if it names none that is usable."""
    match answer:
        case {"provider": {"peer": str() as name, "addresses": list(addresses)}}:
            try:
                peer = str(PeerId.parse(name))
            except ValueError:
                return None
            texts = [each for each in addresses[:MAX_ADDRESSES] if isinstance(each, str)]
            return BlockPeer(peer, tuple(texts), nearest)
    return None
