"""Asks delegated routers which HTTP servers have an artifact (IPFS Delegated Routing V1).

All routers are asked at once, each for `ROUTER_SECONDS` at most, and once for each CID. They learn
which artifact this machine wants, so they are asked only where the known sources are slow or fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final

from phase_boot.content.cid import Cid
from phase_boot.download.context import DownloadContext
from phase_boot.download.http_providers import MAX_REPLY, providers_in, scope_allows_private
from phase_boot.download.routed_peers import nearest_to, peers_in
from phase_boot.journal.content_events import SourceFailed
from phase_boot.ports.block_exchange import BlockPeer
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import below
from policies.model import Reach

ROUTER_SECONDS: Final = 3.0
"""Time for the reply of one router."""
PATIENCE_SECONDS: Final = 2.0
"""Duration of a download from known sources after which routers are asked for others."""


class ProviderSearch:
    """Searches HTTP servers beside the known sources, and remembers what it found."""

    def __init__(
        self, routers: Iterable[str] = (), *, known: Iterable[str] = (), own: Collection[str] = ()
    ) -> None:
        """Take the routers' base URLs, the known gateways, and this machine's own addresses."""
        self._routers = tuple(routers)
        self._known = frozenset(known)
        self._own = frozenset(own)
        self.found: set[str] = set()
        """Base URLs of all servers that were found."""
        self._peers: dict[Cid, list[BlockPeer]] = {}
        self._searches: dict[Cid, asyncio.Task[tuple[str, ...]]] = {}

    async def gateways(self, context: DownloadContext, artifact: str, root: Cid) -> tuple[str, ...]:
        """Return base URLs of servers that are said to have ``root``; none that is known."""
        if not self._routers:
            return ()
        if root not in self._searches:
            search = self._search(context, artifact, root)
            self._searches[root] = asyncio.create_task(search)
        return await asyncio.shield(self._searches[root])

    async def peers(
        self, context: DownloadContext, artifact: str, root: Cid
    ) -> tuple[BlockPeer, ...]:
        """Return the peers of libp2p that are said to have ``root``, by the same replies."""
        await self.gateways(context, artifact, root)
        return tuple(self._peers.get(root, ()))

    async def close(self) -> None:
        """Stop the search."""
        for task in self._searches.values():
            task.cancel()
        await asyncio.gather(*self._searches.values(), return_exceptions=True)

    async def _search(self, context: DownloadContext, artifact: str, root: Cid) -> tuple[str, ...]:
        asked = (self._ask(context, artifact, router, root) for router in self._routers)
        replies = await asyncio.gather(*asked)
        every = dict.fromkeys(base for reply in replies for base in reply)
        found = [base for base in every if base not in self._known]
        self.found.update(found)
        return tuple(found)

    async def _ask(
        self, context: DownloadContext, artifact: str, router: str, root: Cid
    ) -> tuple[str, ...]:
        """Return what one router names; a failure is its own, and is reported."""
        private = context.reach is Reach.LAN or scope_allows_private(router)
        try:
            async with asyncio.timeout(ROUTER_SECONDS):
                reply = await context.fetcher.read(
                    below(router, f"routing/v1/providers/{root}"),
                    limit=MAX_REPLY,
                    reach=context.reach,
                    redirects=context.max_redirects,
                )
            self._peers.setdefault(root, []).extend(peers_in(reply, nearest_to(router)))
            return providers_in(reply, private=private, own=self._own)
        except TimeoutError:
            reason = f"no reply within {ROUTER_SECONDS:g} seconds"
        except (FetchFailed, ValueError) as failure:
            reason = str(failure)
        context.emit(
            SourceFailed(
                source=router,
                artifact=artifact,
                reason=f"the providers of the {artifact}: {reason}",
                retryable=False,
            )
        )
        return ()
