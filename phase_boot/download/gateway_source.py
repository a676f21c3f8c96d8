"""A gateway of IPFS as the source of one artifact, in the best format that it sends.

See https://specs.ipfs.tech/http-gateways/path-gateway/ for files, which come in byte ranges like
those of a mirror, and https://specs.ipfs.tech/http-gateways/trustless-gateway/ for CARs and blocks.
Every chunk is verified by the caller in any format.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.digest import Digest
from phase_boot.download.block_client import BlockClient, max_requests
from phase_boot.download.car_client import CarClient, CarRefused
from phase_boot.download.context import DownloadContext
from phase_boot.download.gateway_formats import Format
from phase_boot.download.source import Source, read_span
from phase_boot.ports.fetcher import Buffer, FetchFailed, RangesUnsupported
from phase_boot.url import below

PATIENCE_SECONDS: Final = 1.0
"""Head start of the mirrors: where one of this network is fast, no gateway learns of the boot."""


class GatewaySource:
    """Implements `download.source.Source` for one artifact whose chunks are known."""

    patience_seconds = PATIENCE_SECONDS
    have = None
    """A gateway is taken to have every chunk."""
    have_pending = False

    def __init__(
        self,
        context: DownloadContext,
        base: str,
        root: Cid,
        chunks: ChunkList,
        *,
        gateways: int = 1,
    ) -> None:
        """Take the URL below which ``/ipfs/`` is, the DAG, and the number of gateways in use."""
        self.name = base
        self._context = context
        self._root = root
        self._chunks = chunks
        known = context.formats.of(base)
        self._format = Format.FILE if known is None else known
        self._format_known = known is not None
        self._max_requests = max_requests(gateways)
        self._cars = CarClient(context, base, root, chunks)
        self._blocks = BlockClient(context, base, gateways=gateways)

    @property
    def max_lanes(self) -> int:
        """One while the format is unknown, and for blocks: the one lane requests many at once."""
        one = not self._format_known or self._format is Format.RAW
        return 1 if one else self._max_requests

    def start_chunk(self) -> int:
        """Return the first chunk."""
        return 0

    async def read(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield ``length`` bytes from ``offset`` on; both are chunk boundaries.

        A gateway that refuses a format before its first byte is asked for the next format, and
        never for this one again.

        Raises:
            FetchFailed: the gateway has not all of them, or none in any format.
        """
        done = 0
        while done < length:
            form, begun = self._format, False
            try:
                async with aclosing(self._read_as(form, offset + done, length - done)) as pieces:
                    async for piece in pieces:
                        if not begun:
                            self._note_format(form)
                        begun = True
                        done += len(piece)
                        yield piece
            except FetchFailed as failure:
                # A CAR that is not as it should be is no lie yet: it may have another order.
                refused = isinstance(failure, CarRefused) or not (begun or failure.retryable)
                if not refused or form is Format.RAW:
                    raise
                # Another lane may have asked for the next format already.
                self._format = max(self._format, Format(form + 1))

    def _note_format(self, form: Format) -> None:
        """Note that the gateway sends this format; a lie is found later, and ends its use."""
        self._format_known = True
        self._context.formats.sent(self.name, form)

    def _read_as(self, form: Format, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        match form:
            case Format.FILE:
                return self._read_file(offset, length)
            case Format.CAR:
                return self._cars.read(offset, length)
            case Format.RAW:
                return self._read_blocks(offset, length)

    async def _read_file(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        url = below(self.name, file_path(self._root))
        try:
            async with aclosing(read_span(self._context, url, offset, length)) as pieces:
                async for piece in pieces:
                    yield piece
        except RangesUnsupported as failure:
            # The whole file is no way out: it is requested from mirrors, by another name.
            raise FetchFailed(str(failure), retryable=False) from failure

    async def _read_blocks(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
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


def file_path(root: Cid) -> str:
    """Return the path of a file, by the path gateway specification."""
    return f"ipfs/{root}"


_: type[Source] = GatewaySource
