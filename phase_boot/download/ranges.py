"""Reads a byte range of a file into memory: for small parts that are verified as a whole."""

from __future__ import annotations

from contextlib import aclosing

from phase_boot.download.context import DownloadContext
from phase_boot.ports.fetcher import FetchFailed


async def read_range(context: DownloadContext, url: str, offset: int, length: int) -> bytes:
    """Return ``length`` bytes from ``offset`` on; fewer, at least one, at the end of the file.

    Raises:
        FetchFailed: the source sent none, more than ``length``, or the request failed.
    """
    data = bytearray()
    response = context.fetcher.span(
        url, offset=offset, length=length, reach=context.reach, redirects=context.max_redirects
    )
    async with aclosing(response) as body:
        async for received in body:
            data += received
            if len(data) > length:
                raise FetchFailed(f"it sent more than {length} bytes", retryable=False)
    if not data:
        raise FetchFailed("it ends too early", retryable=False)
    return bytes(data)
