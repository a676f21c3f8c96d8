"""Requests blocks from a trustless gateway of IPFS by their CIDs.

See https://specs.ipfs.tech/http-gateways/trustless-gateway/. A block is as small as 16 KiB, so that
many requests are open at once. Their number follows the line: on a slow one all blocks would come
too late.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from itertools import islice
from typing import Any, Final, TypeVar

from phase_boot.content.cid import Cid
from phase_boot.download.context import DownloadContext
from phase_boot.download.source import read_range
from phase_boot.ports.fetcher import FetchFailed, RangesUnsupported
from phase_boot.url import below

MAX_REQUESTS: Final = 32
"""Requests that may be open to all gateways together, but at least one to each."""
SLOW_BLOCK_SECONDS: Final = 10.0
"""A block that takes longer lowers the number of open requests by one."""
_Place = TypeVar("_Place")
"""Where a server has some bytes: a CID, or an offset."""


class BlockClient:
    """Requests blocks from one gateway. It verifies nothing: the caller hashes what it gets."""

    def __init__(self, context: DownloadContext, base: str, *, gateways: int = 1) -> None:
        """Take the URL below which ``/ipfs/`` is, and the number of gateways in use."""
        self._context = context
        self._base = base
        self._max_window = max_requests(gateways)
        self._window = 1
        """Number of open requests; it grows with each block that comes in time."""

    def fetch(self, wanted: Iterable[tuple[Cid, int]]) -> AsyncGenerator[bytes, None]:
        """Yield the blocks of ``wanted``, CIDs with their largest sizes, in this order.

        Raises:
            FetchFailed: a block is unavailable; those before it were yielded.
        """
        return in_order(wanted, self._block, lambda: self._window)

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


async def in_order(
    wanted: Iterable[tuple[_Place, int]],
    request: Callable[[_Place, int], Coroutine[Any, Any, bytes]],
    window: Callable[[], int],
) -> AsyncGenerator[bytes, None]:
    """Yield what ``request`` returns for the places and lengths of ``wanted``, in this order.

    ``window()`` requests are open at once.
    """
    places, pending = iter(wanted), deque[asyncio.Task[bytes]]()
    try:
        while True:
            for place, length in islice(places, max(0, window() - len(pending))):
                pending.append(asyncio.create_task(request(place, length)))
            if not pending:
                return
            block = await pending[0]
            pending.popleft()
            yield block
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def max_requests(gateways: int) -> int:
    """Return how many requests may be open to each of so many gateways."""
    return max(1, MAX_REQUESTS // max(1, gateways))


def block_path(cid: Cid) -> str:
    """Return the path of a block, by the trustless gateway specification."""
    return f"ipfs/{cid}?format=raw"
