"""A trustless gateway of IPFS: whoever has blocks, and sends each by the name that it hashes to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Final

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.digest import Digest
from phase_boot.download.context import Errand
from phase_boot.download.ranges import read_range
from phase_boot.download.source import Source
from phase_boot.ports.fetcher import Buffer, FetchFailed, RangesUnsupported
from phase_boot.url import below

MAX_REQUESTS: Final = 8
"""BlockClient that one gateway is asked for at once: one is often no more than 16 KiB."""
MAX_REQUESTS_TO_ALL: Final = 32
"""BlockClient that all gateways together are asked for, unless there are more of these."""
SLOW_BLOCK_SECONDS: Final = 10.0
"""Where a block takes longer fewer are asked for: on a slow line all would come too late."""


class BlockClient:
    """The blocks of one gateway. Nothing that it sends is believed, and nothing checked here."""

    def __init__(self, errand: Errand, base: str) -> None:
        """Take whom to ask, by the URL below which ``/ipfs/`` is."""
        self._errand = errand
        self._base = base
        self._most = max(1, min(MAX_REQUESTS, MAX_REQUESTS_TO_ALL // max(1, len(errand.gateways))))
        self._window = 1
        """How many to ask for at once: more after each that came soon."""

    async def fetch(self, wanted: Iterable[tuple[Cid, int]]) -> AsyncGenerator[bytes, None]:
        """Yield blocks in the order of their names, each of at most so many bytes.

        Raises:
            FetchFailed: one cannot be had; those before it were yielded.
        """
        names, coming = iter(wanted), deque[asyncio.Task[bytes]]()
        try:
            while True:
                for cid, length in islice(names, max(0, self._window - len(coming))):
                    coming.append(asyncio.create_task(self._block(cid, length)))
                if not coming:
                    return
                block = await coming[0]
                coming.popleft()
                yield block
        finally:
            for task in coming:
                task.cancel()
            await asyncio.gather(*coming, return_exceptions=True)

    async def _block(self, cid: Cid, length: int) -> bytes:
        clock, soon = self._errand.clock, False
        began = clock.monotonic()
        try:
            block = await read_range(self._errand, below(self._base, block_path(cid)), 0, length)
            soon = clock.monotonic() - began < SLOW_BLOCK_SECONDS
        except RangesUnsupported as failure:
            # It has no files, so nobody is to ask it for one as a whole.
            raise FetchFailed(str(failure), retryable=False) from failure
        finally:
            self._window = min(self._window + 1, self._most) if soon else max(self._window - 1, 1)
        return block


class GatewaySource:
    """Implements `download.source.Source` for one artifact whose chunks are known."""

    have = None
    """It is asked for everything."""

    def __init__(self, errand: Errand, base: str, chunks: ChunkList) -> None:
        """Take whom to ask, by the URL below which ``/ipfs/`` is, and for what."""
        self.name = base
        self._chunks = chunks
        self._blocks = BlockClient(errand, base)

    def start_chunk(self) -> int:
        """Return the first chunk."""
        return 0

    async def read(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield ``length`` bytes from ``offset`` on, chunk by chunk: both are those of whole ones.

        Raises:
            FetchFailed: a block cannot be had, or is shorter than its chunk.
        """
        first, end = self._chunks.at(offset), self._chunks.at(offset + length - 1) + 1
        async with aclosing(self._blocks.fetch(self._names(first, end))) as blocks:
            async for block in blocks:
                left = self._chunks.chunk(first).size - len(block)
                if left:
                    raise FetchFailed(f"a block ends {left} bytes early", retryable=False)
                first += 1
                yield block

    def _names(self, first: int, end: int) -> Iterator[tuple[Cid, int]]:
        for chunk in map(self._chunks.chunk, range(first, end)):
            yield Cid(Codec.RAW, Digest(chunk.digest.hex())), chunk.size


def block_path(cid: Cid) -> str:
    """Return where a gateway has a block, as the trustless-gateway specification says."""
    return f"ipfs/{cid}?format=raw"


_: type[Source] = GatewaySource
