"""Where artifacts are downloaded from, and the discovery of further sources meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from phase_boot.content.cid import Cid
from phase_boot.download.bitswap_source import BITSWAP, PeerBlocks
from phase_boot.download.context import DownloadContext
from phase_boot.download.peer_search import PeerSearch
from phase_boot.download.provider_search import ProviderSearch
from phase_boot.download.tracker_client import TrackerClient
from phase_boot.ports.finder import Candidate, host_of

MAX_DISCOVERED: Final = 8
"""Sources that are added in one run; a later search finds others if none of these delivers."""
Discover: TypeAlias = Callable[[], AsyncGenerator[tuple[str, Candidate], None]]
"""Yields base URLs of mirrors, each with the announcement that named it."""


async def no_discovery() -> AsyncGenerator[tuple[str, Candidate], None]:
    """Find no source."""
    for found in list[tuple[str, Candidate]]():
        yield found


class SourceDiscovery:
    """Base URLs of sources that are found while others are being used; all are untrusted.

    Discovery starts with the first call of `new_sources`: a stored artifact sends no packet.
    """

    def __init__(
        self,
        discover: Discover = no_discovery,
        *,
        known: Iterable[str] = (),
        service_name: str = "",
    ) -> None:
        """Take the search, and the sources in use: their URLs and the announced name."""
        self._discover = discover
        self._hosts = {host_of(url) for url in known}
        self._names = {service_name} - {""}
        self._found: list[str] = []
        self._news = asyncio.Event()
        self._collecting: asyncio.Task[None] | None = None

    async def new_sources(self) -> AsyncGenerator[str, None]:
        """Yield all sources found so far and later; it never ends by itself."""
        if self._collecting is None:
            self._collecting = asyncio.create_task(self._collect())
        number = 0
        while True:
            self._news.clear()
            for base in self._found[number:]:
                number += 1
                yield base
            if number == len(self._found):
                await self._news.wait()

    async def close(self) -> None:
        """Stop the search."""
        if self._collecting is not None:
            self._collecting.cancel()
            await asyncio.gather(self._collecting, return_exceptions=True)

    async def _collect(self) -> None:
        async with aclosing(self._discover()) as found:
            async for base, candidate in found:
                self._add(base, candidate.service_name)
                if len(self._found) == MAX_DISCOVERED:
                    return

    def _add(self, base: str, service_name: str) -> None:
        """Add a source, unless it is known by its host or, at another address, by its name."""
        host = host_of(base)
        if host in self._hosts or service_name in self._names:
            return
        self._hosts.add(host)
        self._names |= {service_name} - {""}
        self._found.append(base)
        self._news.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources of a download.

    Attributes:
        mirrors: base URLs of mirrors and providers, the preferred first.
        gateways: base URLs of gateways of IPFS, which have files by CIDs, or blocks alone.
        chunk_lists: where gateways have the chunk list of a DAG as a file, by the DAG's CID.
        providers: finds further gateways where the known sources are slow or fail.
        discovery: finds further mirrors while artifacts are downloaded.
        peer_search: finds peers of libp2p, the last resort; None uses none.
        peers: the peers that are used, in place of servers.
        tracker: shares chunks with peers that download the same; None shares with none.
    """

    mirrors: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    chunk_lists: Mapping[Cid, Cid] = field(default_factory=dict)
    providers: ProviderSearch = field(default_factory=ProviderSearch)
    discovery: SourceDiscovery = field(default_factory=SourceDiscovery)
    peer_search: PeerSearch | None = None
    peers: tuple[PeerBlocks, ...] = ()
    tracker: TrackerClient | None = None

    async def find_peers(
        self, context: DownloadContext, artifact: str, root: Cid | None
    ) -> PeerBlocks | None:
        """Return where the blocks of a DAG may come from by bitswap; None if from nowhere."""
        if root is None or self.peer_search is None or context.is_banned(BITSWAP):
            return None
        return await self.peer_search.blocks(context, artifact, root)

    def only(self, blocks: PeerBlocks) -> Sources:
        """Return peers as the only known source; others are still discovered."""
        return replace(self, mirrors=(), gateways=(), peers=(blocks,))

    def has_gateway(self, base: str) -> bool:
        """Return whether ``base`` is a gateway, known or found."""
        return base in self.gateways or base in self.providers.found

    async def open(self) -> None:
        """Prepare for a run of downloads: withdraw what an earlier run still shares."""
        if self.tracker is not None:
            await self.tracker.open()

    async def close(self) -> None:
        """Stop discovery, and tell trackers that this machine stops downloading."""
        await self.discovery.close()
        await self.providers.close()
        if self.tracker is not None:
            await self.tracker.close()
