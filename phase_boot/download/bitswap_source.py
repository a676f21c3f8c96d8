"""Peers of libp2p as one source of an artifact: the last resort, if no server delivers.

The process that speaks libp2p chooses among the peers, and drops one that sends what was not
requested. It is not believed either: each block is hashed where it is stored or parsed, and a wrong
one ends the use of bitswap in this boot.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.digest import Digest
from phase_boot.download.block_client import in_order
from phase_boot.download.source import Source
from phase_boot.ports.block_exchange import MAX_AT_ONCE, BlockExchange, BlockPeer
from phase_boot.ports.fetcher import Buffer, FetchFailed

BITSWAP: Final = "bitswap"
"""The name of all peers together, where events name a source."""
BLOCK_SECONDS: Final = 30.0
"""Time for one block, in which other peers are asked if one is silent."""
START_SECONDS: Final = 40.0
"""Time beyond it in which the process may start."""


class PeerBlocks:
    """Requests blocks from peers by their CIDs. It verifies nothing: the caller hashes them."""

    def __init__(self, exchange: BlockExchange, peers: Sequence[BlockPeer]) -> None:
        """Take the exchange, and the peers that may have the blocks."""
        self._exchange = exchange
        self._peers = peers

    def fetch(self, wanted: Iterable[tuple[Cid, int]]) -> AsyncGenerator[bytes, None]:
        """Yield the blocks of ``wanted``, CIDs with their largest sizes, in this order.

        Raises:
            FetchFailed: no peer sent a block; those before it were yielded.
        """
        return in_order(wanted, self._block, lambda: MAX_AT_ONCE)

    async def _block(self, cid: Cid, length: int) -> bytes:
        try:
            async with asyncio.timeout(BLOCK_SECONDS + START_SECONDS):
                return await self._exchange.block(
                    cid, limit=length, peers=self._peers, seconds=BLOCK_SECONDS
                )
        except TimeoutError as error:
            raise FetchFailed("no block came in time", retryable=True) from error


class BitswapSource:
    """Implements `download.source.Source` for one artifact whose chunks are known."""

    name = BITSWAP
    have = None
    """Peers are taken to have every chunk."""
    have_pending = False
    max_lanes = 1
    """The one lane requests many blocks at once."""
    patience_seconds = 0.0
    """Servers were given up before it is used."""

    def __init__(self, blocks: PeerBlocks, chunks: ChunkList) -> None:
        """Take where the blocks come from, and the chunks."""
        self._blocks = blocks
        self._chunks = chunks

    def start_chunk(self) -> int:
        """Return the first chunk."""
        return 0

    async def read(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield ``length`` bytes from ``offset`` on, chunk by chunk; both are chunk boundaries.

        Raises:
            FetchFailed: no peer sent a block, or it is shorter than its chunk.
        """
        first, end = self._chunks.chunk_at(offset), self._chunks.chunk_at(offset + length - 1) + 1
        async with aclosing(self._blocks.fetch(self._cids(first, end))) as blocks:
            async for block in blocks:
                if len(block) != self._chunks.chunk(first).size:
                    raise FetchFailed("a block has another size than its chunk", retryable=False)
                first += 1
                yield block

    def _cids(self, first: int, end: int) -> Iterator[tuple[Cid, int]]:
        for chunk in map(self._chunks.chunk, range(first, end)):
            yield Cid(Codec.RAW, Digest(chunk.digest.hex())), chunk.size


_: type[Source] = BitswapSource
