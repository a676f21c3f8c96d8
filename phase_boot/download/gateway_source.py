"""A trustless gateway of IPFS: serves single blocks by their CIDs, and no files.

See https://specs.ipfs.tech/http-gateways/trustless-gateway/. A block is as small as 16 KiB, so that
several requests are open at once. Their number follows the line: on a slow one all blocks would
come too late.
"""

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
from phase_boot.download.context import DownloadContext
from phase_boot.download.source import Source, read_range
from phase_boot.ports.fetcher import Buffer, FetchFailed, RangesUnsupported
from phase_boot.url import below

MAX_REQUESTS: Final = 8
"""Open requests to one gateway; a block is often no larger than 16 KiB."""
MAX_REQUESTS_TO_ALL: Final = 32
"""Open requests to all gateways together, but at least one to each."""
SLOW_BLOCK_SECONDS: Final = 10.0
"""A block that takes longer lowers the number of open requests by one."""


class BlockClient:
    """Requests blocks from one gateway. It verifies nothing: the caller hashes what it gets."""

    def __init__(self, context: DownloadContext, base: str, *, gateways: int = 1) -> None:
        """Take the URL below which ``/ipfs/`` is, and the number of gateways in use."""
        self._context = context
        self._base = base
        self._max_window = max(1, min(MAX_REQUESTS, MAX_REQUESTS_TO_ALL // max(1, gateways)))
        self._window = 1
        """Number of open requests; it grows with each block that comes in time."""

    async def fetch(self, wanted: Iterable[tuple[Cid, int]]) -> AsyncGenerator[bytes, None]:
        """Yield the blocks of ``wanted``, CIDs with their largest sizes, in this order.

        Raises:
            FetchFailed: a block is unavailable; those before it were yielded.
        """
        cids, pending = iter(wanted), deque[asyncio.Task[bytes]]()
        try:
            while True:
                for cid, length in islice(cids, max(0, self._window - len(pending))):
                    pending.append(asyncio.create_task(self._block(cid, length)))
                if not pending:
                    return
                block = await pending[0]
                pending.popleft()
                yield block
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def _block(self, cid: Cid, length: int) -> bytes:
        clock, soon = self._context.clock, False
        began = clock.monotonic()
        try:
            block = await read_range(self._context, below(self._base, block_path(cid)), 0, length)
            soon = clock.monotonic() - began < SLOW_BLOCK_SECONDS
        except RangesUnsupported as failure:
            # A gateway has no files, so no whole file is to be requested from it.
            raise FetchFailed(str(failure), retryable=False) from failure
        finally:
            self._window = (
                min(self._window + 1, self._max_window) if soon else max(self._window - 1, 1)
            )
        return block


class GatewaySource:
    """Implements `download.source.Source` for one artifact whose chunks are known."""

    have = None
    """A gateway is taken to have every chunk."""

    def __init__(
        self, context: DownloadContext, base: str, chunks: ChunkList, *, gateways: int = 1
    ) -> None:
        """Take the URL below which ``/ipfs/`` is, the chunks, and the number of gateways."""
        self.name = base
        self._chunks = chunks
        self._blocks = BlockClient(context, base, gateways=gateways)

    def start_chunk(self) -> int:
        """Return the first chunk."""
        return 0

    async def read(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield ``length`` bytes from ``offset`` on, chunk by chunk; both are chunk boundaries.

        Raises:
            FetchFailed: a block is unavailable, or shorter than its chunk.
        """
        first, end = self._chunks.chunk_at(offset), self._chunks.chunk_at(offset + length - 1) + 1
        async with aclosing(self._blocks.fetch(self._cids(first, end))) as blocks:
            async for block in blocks:
                left = self._chunks.chunk(first).size - len(block)
                if left:
                    raise FetchFailed(f"a block ends {left} bytes early", retryable=False)
                first += 1
                yield block

    def _cids(self, first: int, end: int) -> Iterator[tuple[Cid, int]]:
        for chunk in map(self._chunks.chunk, range(first, end)):
            yield Cid(Codec.RAW, Digest(chunk.digest.hex())), chunk.size


def block_path(cid: Cid) -> str:
    """Return the path of a block, by the trustless gateway specification."""
    return f"ipfs/{cid}?format=raw"


_: type[Source] = GatewaySource
