"""Fetches a byte range of a file from a trustless gateway as verified CARs.

See https://specs.ipfs.tech/http-gateways/trustless-gateway/ and IPIP-402. The query names the order
and the duplicates, for gateways that do not read them from the Accept header.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from phase_boot.content.car import BadCar
from phase_boot.content.car_walk import CarWalk
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid
from phase_boot.download.context import DownloadContext
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import below

MIB: Final = 1024 * 1024
MAX_CAR: Final = 8 * MIB
"""Bytes of a file that are requested in one CAR, unless a chunk is longer."""
MAX_OVERHEAD: Final = 4 * MIB
"""Bytes of a CAR besides those of the file, beyond an eighth of them."""


class CarRefused(FetchFailed):
    """The gateway sends no CARs, or CARs that cannot be verified."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, retryable=False)


class CarClient:
    """Requests byte ranges of one file from one gateway, and verifies them."""

    def __init__(self, context: DownloadContext, base: str, root: Cid, chunks: ChunkList) -> None:
        """Take the URL below which ``/ipfs/`` is, and the DAG of the file."""
        self._context = context
        self._base = base
        self._root = root
        self._chunks = chunks

    async def read(self, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield whole chunks: ``length`` bytes from ``offset`` on, both chunk boundaries.

        Raises:
            CarRefused: the gateway refuses, or sent other blocks than were requested.
            FetchFailed: a CAR was cut off, or the request failed.
        """
        end = offset + length
        while offset < end:
            span = self._span(offset, end)
            async with aclosing(self._read_car(offset, span)) as parts:
                async for part in parts:
                    yield part
            offset += span

    def _span(self, offset: int, end: int) -> int:
        """Return the length of the next CAR's part of the file, up to a chunk boundary."""
        if end - offset <= MAX_CAR:
            return end - offset
        chunk = self._chunks.chunk(self._chunks.chunk_at(offset + MAX_CAR))
        return chunk.offset - offset or chunk.size

    async def _read_car(self, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        walk = CarWalk(self._root, self._chunks.size, offset, length)
        # The last bytes are held back until the response has ended. So nothing is left over, and
        # the connection can be used again.
        last, yielded = b"", False
        async with aclosing(self._pieces(walk, offset, length)) as parts:
            async for part in parts:
                if last:
                    yielded = True
                    yield last
                last = part
        if last:
            yield last
        if not walk.complete:
            cut = "its CAR ends too early"
            raise FetchFailed(cut, retryable=True) if yielded or last else CarRefused(cut)

    async def _pieces(self, walk: CarWalk, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """Yield what the walk verifies of the response."""
        context, begun = self._context, False
        response = context.fetcher.span(
            _url(self._base, self._root, offset, length),
            offset=0,
            length=length + length // 8 + MAX_OVERHEAD,
            reach=context.reach,
            redirects=context.max_redirects,
        )
        try:
            async with aclosing(response) as body:
                async for piece in body:
                    begun = True
                    verified = walk.feed(piece)
                    if verified:
                        yield verified
            rest = walk.finish()
        except BadCar as failure:
            raise CarRefused(str(failure)) from failure
        except FetchFailed as failure:
            if begun or failure.retryable:
                raise
            raise CarRefused(str(failure)) from failure
        if rest:
            yield rest


def _url(base: str, root: Cid, offset: int, length: int) -> str:
    """Return the URL of the CAR of a byte range; its end is inclusive."""
    span = f"dag-scope=entity&entity-bytes={offset}:{offset + length - 1}"
    return below(base, f"ipfs/{root}?format=car&{span}&car-order=dfs&car-dups=y")
