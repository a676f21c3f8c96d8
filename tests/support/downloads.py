"""Chunked data, and downloads of it from mirrors in memory."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.digest import Digest
from phase_boot.download import DownloadContext, Sources
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer, blocks_of
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.virtual_time import VirtualClock
from phase_boot.journal.event import Event
from phase_boot.ports.fetcher import RangesUnsupported
from phase_boot.store.content_store import ContentStore
from phase_boot.store.disk import Disk
from phase_boot.store.layout import entry_path
from policies.model import Reach, policy_from

SIZES = (700, 1, 1300, 999, 2048)


def data_of(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - the same bytes every time


def chunked(data: bytes) -> ChunkList:
    """Cut ``data`` into chunks of changing sizes."""
    chunks, at, number = ChunkList(), 0, 0
    while at < len(data):
        piece = data[at : at + SIZES[number % len(SIZES)]]
        chunks.append(bytes.fromhex(Digest.of(piece).hex), len(piece))
        at, number = at + len(piece), number + 1
    return chunks


def artifact_of(data: bytes, name: str = "rootfs") -> Artifact:
    return Artifact(name, Digest.of(data), len(data))


def server_of(data: bytes, **settings: Any) -> FakeServer:
    """Return a mirror of one artifact."""
    return FakeServer({entry_path(Digest.of(data)): data}, **settings)


def gateway_of(data: bytes, chunks: ChunkList, **settings: Any) -> FakeServer:
    """Return a gateway that has the blocks of one file, and no file."""
    return FakeServer(blocks_of(data, chunks), **settings)


@dataclass
class FakeDownload:
    """Downloads from fake mirrors: context, sources, events and disk."""

    fetcher: FakeFetcher
    disk: Disk = field(default_factory=MemoryDisk)
    events: list[Event] = field(default_factory=list)
    banned: set[str] = field(default_factory=set)

    def context(self, **changes: Any) -> DownloadContext:
        table = policy_table()
        table["limits"] |= changes.pop("limits", {})
        settings: dict[str, Any] = {
            "clock": VirtualClock(),
            "fetcher": self.fetcher,
            "store": ContentStore(self.disk, bound=1 << 30),
            "policy": policy_from(table, read=lambda _: b""),
            "banned": self.banned,
            "emit": self.events.append,
        }
        return DownloadContext(**(settings | changes))

    def sources(self, **changes: Any) -> Sources:
        """Return all servers as mirrors, unless ``changes`` say otherwise."""
        return Sources(**({"mirrors": tuple(self.fetcher.servers)} | changes))

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def flipped_from(offset: int) -> Callable[[str, bytes], bytes]:
    """Return a function that flips a bit of the byte at ``offset``."""
    return lambda _, data: data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


class CountingFetcher(FakeFetcher):
    """Counts open responses and their highest number."""

    now = most = 0
    refusing = ""
    """Base URL of a server that sends only whole files."""

    async def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.refusing and url.startswith(self.refusing):
                raise RangesUnsupported("it sends files only as a whole")
            answer = super().span(
                url, offset=offset, length=length, reach=reach, redirects=redirects
            )
            async with aclosing(answer) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.now -= 1
