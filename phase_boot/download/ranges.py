"""Reads a byte range of a file into memory: for small parts that are verified as a whole."""

from __future__ import annotations

from contextlib import aclosing

from phase_boot.download.context import DownloadContext
from phase_boot.ports.fetcher import FetchFailed


async def read_range(context: DownloadContext, url: str, offset: int, length: int) -> bytes:
    """Return ``length`` bytes from ``offset`` on; fewer, at least one, at the end of the file.

    Raises:
        FetchFailed: the source sent none, or the request failed. The fetcher bounds the length.
    """
    response = context.fetcher.span(
        url, offset=offset, length=length, reach=context.reach, redirects=context.max_redirects
    )
    async with aclosing(response) as body:
        data = b"".join([received async for received in body])
    if not data:
        raise FetchFailed("it ends too early", retryable=False)
    return data
