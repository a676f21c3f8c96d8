"""Reads a byte range of a file into memory."""

from __future__ import annotations

from contextlib import aclosing

from phase_boot.download.context import DownloadContext
from phase_boot.ports.fetcher import FetchFailed


async def read_range(context: DownloadContext, url: str, offset: int, length: int) -> bytes:
    """Return at most ``length`` bytes from ``offset`` on, and at least one.

    Raises:
        FetchFailed: they cannot be had, or there are more.
    """
    data = bytearray()
    answer = context.fetcher.span(
        url, offset=offset, length=length, reach=context.reach, redirects=context.max_redirects
    )
    async with aclosing(answer) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > length:
                raise FetchFailed(f"it sent more than {length} bytes", retryable=False)
    if not data:
        raise FetchFailed("it ends too early", retryable=False)
    return bytes(data)
