"""Interface of a source: a server that may have an artifact or some of its chunks.

What a source sends is untrusted. Each chunk is hashed before it counts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from phase_boot.download.context import DownloadContext
from phase_boot.ports.fetcher import Buffer, FetchFailed


class Source(Protocol):
    """Sends bytes of one artifact."""

    @property
    def name(self) -> str:
        """The base URL, by which events and the set of banned servers name it."""

    @property
    def have(self) -> bytes | bytearray | None:
        """One byte for each chunk, 1 if it may be requested here; None if every chunk may."""

    @property
    def have_pending(self) -> bool:
        """Whether more chunks may be requested soon than ``have`` says, after a server's reply."""

    @property
    def max_lanes(self) -> int:
        """Requests that may be open to it at once, at least one."""

    @property
    def patience_seconds(self) -> float:
        """How long it waits while a source with less patience responds."""

    def start_chunk(self) -> int:
        """Return the chunk from which on missing chunks are requested first."""

    def read(self, offset: int, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield ``length`` bytes from ``offset`` on.

        Raises:
            FetchFailed: the source did not send all of them.
        """


async def read_span(
    context: DownloadContext, url: str, offset: int, length: int
) -> AsyncGenerator[Buffer, None]:
    """Yield ``length`` bytes of a file from ``offset`` on.

    Raises:
        FetchFailed: the file ends early, or the request failed.
        RangesUnsupported: the server sends only whole files.
    """
    left = length
    response = context.fetcher.span(
        url, offset=offset, length=length, reach=context.reach, redirects=context.max_redirects
    )
    async with aclosing(response) as body:
        async for data in body:
            left -= len(data)
            yield data
    if left:
        raise FetchFailed(f"its file ends {left} bytes early", retryable=False)


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
