"""Searches peers of libp2p that may have an artifact, for bitswap.

The publisher's record names some, delegated routers and the DHT name others. All are asked at the
same time, once for each CID. What they name is untrusted: it is bounded, and none may name an
address that is nearer than its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.content.multiaddr import Multiaddr
from phase_boot.download.bitswap_source import PeerBlocks
from phase_boot.download.context import DownloadContext
from phase_boot.download.provider_search import ProviderSearch
from phase_boot.journal.content_events import SourceFailed
from phase_boot.ports.block_exchange import MAX_PEERS, BlockExchange, BlockPeer
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import DISTANCE, Scope, scope_of

LOOKUP_SECONDS: Final = 10.0
"""Duration of the look-up in the DHT, once it has begun."""
SEARCH_SECONDS: Final = 30.0
"""Duration of a search with the start of the process that speaks libp2p."""
ENOUGH_SECONDS: Final = 2.0
"""Time that is left for other answers once a peer is known."""


class PeerSearch:
    """Finds peers, and remembers those of each CID."""

    def __init__(
        self,
        exchange: BlockExchange,
        *,
        named: Iterable[str] = (),
        routed: ProviderSearch | None = None,
        bootstrap: Iterable[str] = (),
    ) -> None:
        """Take the exchange and who names peers.

        Args:
            exchange: requests the blocks, and asks the DHT.
            named: multiaddrs of the record, with ids; others are left out.
            routed: asks delegated routers; None asks none.
            bootstrap: multiaddrs of the policy's peers of the DHT; none is asked without them.
        """
        self._exchange = exchange
        self._routed = routed or ProviderSearch()
        self._bootstrap = tuple(bootstrap)
        self._nearest = nearest_of(self._bootstrap)
        self._named = tuple(_peers_of(named, self._nearest))
        self._found: dict[Cid, PeerBlocks | None] = {}

    async def blocks(self, context: DownloadContext, artifact: str, root: Cid) -> PeerBlocks | None:
        """Return where the blocks of a DAG may come from; None if no peer is known."""
        if root not in self._found:
            peers = await self._search(context, artifact, root)
            self._found[root] = PeerBlocks(self._exchange, peers) if peers else None
        return self._found[root]

    async def _search(
        self, context: DownloadContext, artifact: str, root: Cid
    ) -> tuple[BlockPeer, ...]:
        """Ask all; with a first peer, the others have `ENOUGH_SECONDS` left."""
        found = {peer.peer: peer for peer in self._named}
        asked = {asyncio.create_task(self._ask_routers(context, artifact, root, found))}
        if self._bootstrap:
            asked.add(asyncio.create_task(self._ask_dht(context, artifact, root, found)))
        clock = asyncio.get_running_loop().time
        try:
            until = clock() + SEARCH_SECONDS
            while asked and clock() < until:
                if found:
                    until = min(until, clock() + ENOUGH_SECONDS)
                _, asked = await asyncio.wait(
                    asked,
                    timeout=min(until - clock(), ENOUGH_SECONDS),
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return tuple(found.values())[:MAX_PEERS]

    async def _ask_routers(
        self, context: DownloadContext, artifact: str, root: Cid, found: dict[str, BlockPeer]
    ) -> None:
        """Add the peers that routers name, which have been asked for HTTP servers already."""
        for peer in await self._routed.peers(context, artifact, root):
            found.setdefault(peer.peer, peer)

    async def _ask_dht(
        self, context: DownloadContext, artifact: str, root: Cid, found: dict[str, BlockPeer]
    ) -> None:
        """Add the peers that the DHT names."""
        peers = self._exchange.providers(
            root, bootstrap=self._bootstrap, nearest=self._nearest, seconds=LOOKUP_SECONDS
        )
        try:
            async for peer in peers:
                found.setdefault(peer.peer, peer)
                if len(found) >= MAX_PEERS:
                    break
        except FetchFailed as failure:
            _report(context, "the DHT", artifact, str(failure))
        finally:
            await peers.aclose()


def nearest_of(bootstrap: Iterable[str]) -> Scope:
    """Return the scope of the nearest peer that the policy names: it says which network is used."""
    scopes = [Scope.PUBLIC]
    for text in bootstrap:
        with suppress(ValueError):
            endpoint = Multiaddr.parse(text).tcp
            scopes += [scope_of(endpoint[0])] if endpoint else []
    return min((each for each in scopes if each in DISTANCE), key=DISTANCE.__getitem__)


def _peers_of(addresses: Iterable[str], nearest: Scope) -> Iterator[BlockPeer]:
    """Yield one peer for each id in ``addresses``."""
    of_peer: dict[str, list[str]] = {}
    for text in addresses:
        with suppress(ValueError):
            parsed = Multiaddr.parse(text)
            if parsed.peer is not None and parsed.tcp is not None:
                of_peer.setdefault(str(parsed.peer), []).append(text)
    for name, texts in of_peer.items():
        yield BlockPeer(name, tuple(texts), nearest)


def _report(context: DownloadContext, source: str, artifact: str, reason: str) -> None:
    context.emit(
        SourceFailed(
            source=source,
            artifact=artifact,
            reason=f"the peers that have the {artifact}: {reason}",
            retryable=False,
        )
    )
