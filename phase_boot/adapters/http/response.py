"""Interprets responses: which bytes of the body are the requested ones, and their Content-Encoding.

The only parser of these headers. Content is hashed later, so a false header cannot introduce bytes;
it only decides which bytes to skip and what to request next. Some servers apply a content coding
unrequested (RFC 9110 section 8.4); it is decoded up to the requested number of bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Final

from phase_boot.adapters.http import captive_portal
from phase_boot.console.lines import printable
from phase_boot.machine.backoff import PASSING_STATUSES, retry_after
from phase_boot.ports.fetcher import FetchFailed, RangesUnsupported

OK: Final = 200
PARTIAL: Final = 206
GONE: Final = frozenset({404, 410})
NO_SUCH_RANGE: Final = 416
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
MULTIPART: Final = "multipart/byteranges"
SHOWN: Final = 80
_RANGE: Final = re.compile(r"bytes[ =]([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """Status and headers of a response.

    Attributes:
        length: bytes of the body as sent; None if unknown.
    """

    status: int
    headers: Mapping[str, str]
    length: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Position of the requested bytes in a body.

    Attributes:
        skip: bytes before the requested ones.
        length: requested bytes, at most.
        more: whether unrequested bytes may follow.
        sure: whether fewer bytes than `length` mean a truncated body.
        ends: whether the file ends with the requested bytes.
    """

    coding: Coding
    skip: int
    length: int
    more: bool
    sure: bool
    ends: bool


def coding_of(head: ResponseHead) -> Coding:
    """Return the content coding; raise FetchFailed if unsupported."""
    return named_coding(head.headers.get("Content-Encoding"))


def part_of(head: ResponseHead, offset: int, length: int) -> Body:
    """Return the position of a requested range in the response.

    Raises:
        RangesUnsupported: the range is missing; a request for the whole file may succeed.
        FetchFailed: the response has no bytes of the file.
    """
    coding = coding_of(head)
    if head.status == PARTIAL:
        return _part(head, coding, offset, length)
    if head.status == NO_SUCH_RANGE:
        raise RangesUnsupported(f"it does not have that part (HTTP {NO_SUCH_RANGE})")
    if head.status == OK and offset:
        raise RangesUnsupported("it sends files only as a whole")
    if coding is Coding.GZIP and head.length != length:
        # Only the size of the whole file tells a coded body from a gzip file with a false header.
        raise RangesUnsupported("it encodes what was asked for unencoded")
    return Body(coding=Coding.IDENTITY, skip=0, length=length, more=True, sure=False, ends=True)


def whole_of(head: ResponseHead, size: int) -> Body:
    """Return the position of the whole file of ``size`` bytes in the response.

    Raises:
        FetchFailed: the response does not have the file.
    """
    coding = coding_of(head)
    if head.status == PARTIAL:
        body = _part(head, coding, 0, size)
        if body.length < size:
            raise FetchFailed(
                f"it has {body.length} bytes where {size} were signed", retryable=False
            )
        return body
    if coding is Coding.GZIP and head.length == size:
        # The file is itself a gzip archive, and the header is false: do not decode it.
        coding = Coding.IDENTITY
    if coding is Coding.IDENTITY and head.length not in {None, size}:
        raise FetchFailed(f"it has {head.length} bytes where {size} were signed", retryable=False)
    return Body(coding=coding, skip=0, length=size, more=False, sure=True, ends=True)


def failure_of(url: str, head: ResponseHead, now: datetime) -> FetchFailed:
    """Return the failure for a response without content of the file."""
    status = head.status
    if status in GONE:
        return FetchFailed(f"it does not have it (HTTP {status})", retryable=False)
    if status == captive_portal.SIGN_IN and url.startswith("http://"):
        return captive_portal.asks_for_sign_in()
    pause = retry_after(head.headers.get("Retry-After"), date=head.headers.get("Date"), now=now)
    passing = status in PASSING_STATUSES
    return FetchFailed(f"it answered HTTP {status}", retryable=passing, retry_after=pause)


def _part(head: ResponseHead, coding: Coding, offset: int, length: int) -> Body:
    if coding is not Coding.IDENTITY:
        raise RangesUnsupported("it encodes what was asked for unencoded, and sends parts of that")
    if head.headers.get("Content-Type", "").lower().startswith(MULTIPART):
        raise RangesUnsupported("it answered with several parts")
    field = head.headers.get("Content-Range", "")
    found = _RANGE.fullmatch(field.strip())
    if found is None or int(found[2]) < int(found[1]):
        # Without Content-Range the body counts as the requested range.
        if head.length is not None and head.length > length:
            raise RangesUnsupported(f"it sent {head.length} bytes where {length} were asked for")
        short = length if head.length is None else head.length
        return Body(
            coding=coding,
            skip=0,
            length=short,
            more=False,
            sure=head.length is not None,
            ends=False,
        )
    first, after = int(found[1]), int(found[2]) + 1
    if not first <= offset < after:
        raise RangesUnsupported(f"it answered with the range {printable(field)[:SHOWN]!r}")
    end = min(after, offset + length)
    return Body(
        coding=coding,
        skip=offset - first,
        length=end - offset,
        more=after > end,
        sure=True,
        ends=found[3] != "*" and after >= int(found[3]),
    )


PIECE: Final = 256 * 1024
"""Bytes per decoding step."""
SPARE: Final = 64 * 1024
"""Encoded bytes allowed in addition to 9/8 of the decoded size."""
NOTHING: Final = frozenset({"", "identity", "aws-chunked"})
"""Values without effect on the body; S3 keeps `aws-chunked` from the upload."""
GZIP: Final = frozenset({"gzip", "x-gzip", "deflate"})
ANY_HEADER: Final = 32 + zlib.MAX_WBITS
"""zlib window bits that detect gzip and zlib headers."""
CODING_SHOWN: Final = 40


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
    unsupported = printable(", ".join(left))[:CODING_SHOWN]
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
