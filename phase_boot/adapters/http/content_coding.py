"""Decodes Content-Encoding (RFC 9110 section 8.4), which some servers apply unrequested."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from enum import StrEnum, auto
from typing import Final

from phase_boot.console.lines import printable
from phase_boot.ports.fetcher import FetchFailed

PIECE: Final = 256 * 1024
"""Bytes per decoding step."""
SPARE: Final = 64 * 1024
"""Encoded bytes allowed in addition to 9/8 of the decoded size."""
NOTHING: Final = frozenset({"", "identity", "aws-chunked"})
"""Values without effect on the body; S3 keeps `aws-chunked` from the upload."""
GZIP: Final = frozenset({"gzip", "x-gzip", "deflate"})
ANY_HEADER: Final = 32 + zlib.MAX_WBITS
"""zlib window bits that detect gzip and zlib headers."""
SHOWN: Final = 40


class Coding(StrEnum):
    """A supported content coding."""

    IDENTITY = auto()
    GZIP = auto()


def named_coding(field: str | None) -> Coding:
    """Return the coding that a Content-Encoding field names.

    Raises:
        FetchFailed: the coding is not supported.
    """
    named = [word.strip().lower() for word in (field or "").split(",")]
    left = [word for word in named if word not in NOTHING]
    if not left:
        return Coding.IDENTITY
    if len(left) == 1 and left[0] in GZIP:
        return Coding.GZIP
    unsupported = printable(", ".join(left))[:SHOWN]
    raise FetchFailed(
        f"it encodes what was asked for unencoded ({unsupported}); switch that off for its files",
        retryable=False,
    )


async def decoded(
    pieces: AsyncIterable[bytes], coding: Coding, *, limit: int
) -> AsyncGenerator[bytes, None]:
    """Yield the decoded bytes.

    The caller stops reading at ``limit`` bytes, so nothing beyond is decoded. A body with more
    encoded bytes than ``limit`` explains is refused.

    Raises:
        FetchFailed: the encoded bytes are damaged, cut off or too many.
    """
    if coding is Coding.IDENTITY:
        async for piece in pieces:
            yield piece
        return
    engine, left = zlib.decompressobj(ANY_HEADER), limit + limit // 8 + SPARE
    async for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise FetchFailed("its encoding is longer than the file", retryable=False)
        rest = piece
        while rest:
            if engine.eof:
                # Concatenated gzip members are one file (RFC 1952 section 2.2).
                engine = zlib.decompressobj(ANY_HEADER)
            try:
                plain = engine.decompress(rest, PIECE)
            except zlib.error as error:
                raise FetchFailed("its gzip encoding is damaged", retryable=False) from error
            rest = engine.unused_data if engine.eof else engine.unconsumed_tail
            if plain:
                yield plain
    if not engine.eof:
        raise FetchFailed("its gzip encoding ends too early", retryable=True)


async def whole(pieces: AsyncIterable[bytes], coding: Coding, *, limit: int) -> bytes:
    """Return a decoded body of at most ``limit`` bytes.

    Raises:
        FetchFailed: the body is larger or damaged.
    """
    body = bytearray()
    async with aclosing(decoded(pieces, coding, limit=limit)) as plain:
        async for piece in plain:
            body += piece
            if len(body) > limit:
                raise FetchFailed(f"it is larger than {limit} bytes", retryable=False)
    return bytes(body)
