"""Peers of libp2p that have given blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.ports.block_exchange import BlockPeer
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import Scope


@dataclass
class FakeBlocks:
    """Implements `ports.block_exchange.BlockExchange`."""

    blocks: dict[Cid, bytes] = field(default_factory=dict)
    provided_by: list[BlockPeer] = field(default_factory=list)
    """The peers that the DHT names for every block."""
    seconds: float = 0.01
    """Time for one block."""
    hangs: bool = False
    """Whether no peer ever answers."""
    requests: list[tuple[Cid, tuple[BlockPeer, ...]]] = field(default_factory=list)
    lookups: list[tuple[Cid, tuple[str, ...], Scope]] = field(default_factory=list)
    running: int = 0
    """Requests that have not ended."""

    def add_file(self, data: bytes, chunks: ChunkList) -> None:
        """Add the nodes and chunks of a file."""
        self.blocks |= dict(build_dag(chunks).nodes)
        for chunk in chunks:
            block = data[chunk.offset : chunk.offset + chunk.size]
            self.blocks[Cid.of(Codec.RAW, block)] = block

    def add_block(self, block: bytes) -> None:
        """Add a block of raw bytes."""
        self.blocks[Cid.of(Codec.RAW, block)] = block

    async def block(
        self, cid: Cid, *, limit: int, peers: Sequence[BlockPeer], seconds: float
    ) -> bytes:
        self.requests.append((cid, tuple(peers)))
        self.running += 1
        try:
            await asyncio.sleep(seconds if self.hangs else self.seconds)
        finally:
            self.running -= 1
        block = self.blocks.get(cid)
        if block is None or self.hangs:
            raise FetchFailed(f"{len(peers)} of {len(peers)} peers lack it", retryable=False)
        if len(block) > limit:
            raise FetchFailed(f"the block has more than {limit} bytes", retryable=False)
        return block

    async def providers(
        self,
        cid: Cid,
        *,
        bootstrap: tuple[str, ...],
        nearest: Scope,
        seconds: float,  # noqa: ARG002 - of the port
    ) -> AsyncGenerator[BlockPeer, None]:
        self.lookups.append((cid, bootstrap, nearest))
        for peer in self.provided_by:
            await asyncio.sleep(self.seconds)
            yield peer
