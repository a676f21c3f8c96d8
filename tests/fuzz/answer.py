"""Answers of web servers: the head that says which bytes come, and bodies in a content coding."""

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

from phase_boot.adapters.http.response import (
    PIECE,
    Body,
    Coding,
    ResponseHead,
    coding_of,
    decoded,
    failure_of,
    part_of,
    whole_of,
)
from phase_boot.ports.fetcher import FetchFailed
from tests.fuzz.target import Target

END: Final = b"\n--\n"
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
ASKED: Final = ((0, 1000), (500, 1000), (0, 1), (2**40 - 1, 1))
SIZE: Final = 1000
NAMES: Final = ("Content-Range", "Content-Encoding", "Content-Type", "Retry-After", "Date")
STATUSES: Final = (200, 206, 416, 404, 503, 429, 511, 302)


def one(data: bytes) -> None:
    """Read a head whose fields are its lines, and what follows `END` as a body."""
    lines, _, body = data.partition(END)
    status, length, *fields = [*lines.decode("latin-1").split("\n", 6), "", ""]
    head = ResponseHead(
        status=STATUSES[len(status) % len(STATUSES)],
        headers={name: text for name, text in zip(NAMES, fields, strict=False) if text},
        length=int(length) if length.isascii() and length.isdecimal() else None,
    )
    assert str(failure_of("http://h/", head, NOW)).isprintable()
    for offset, wanted in ASKED:
        _part(head, offset, wanted)
    try:
        _check(whole_of(head, SIZE), 0, SIZE)
        coding = coding_of(head)
    except FetchFailed as failure:
        _check_reason(failure)
    else:
        _run(_decode(body, coding))


def _part(head: ResponseHead, offset: int, wanted: int) -> None:
    try:
        body = part_of(head, offset, wanted)
    except FetchFailed as failure:
        _check_reason(failure)
    else:
        _check(body, offset, wanted)


def _check(body: Body, offset: int, wanted: int) -> None:
    assert 0 <= body.length <= wanted
    assert 0 <= body.skip <= max(offset, 10**18)


def _check_reason(failure: FetchFailed) -> None:
    assert str(failure).isprintable()
    assert len(str(failure)) < 200


async def _decode(body: bytes, coding: Coding) -> None:
    taken = 0
    try:
        async for piece in decoded(_pieces(body), coding, limit=SIZE):
            assert len(piece) <= max(PIECE, len(body))
            taken += len(piece)
            if taken > SIZE:
                return
    except FetchFailed as failure:
        _check_reason(failure)


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


def _run(waiting: Coroutine[Any, Any, None]) -> None:
    """Run what never waits for anything."""
    try:
        waiting.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


TARGET = Target(
    one=one,
    starts={
        "range": b"1\n1000\nbytes 0-999/2000" + END,
        "any-size": b"1\n\nbytes 0-999/*" + END,
        "other-range": b"1\n10\nbytes 900-909/2000" + END,
        "turned-round": b"1\n10\nbytes 9-0/2000" + END,
        "gzip": b"\n\n\ngzip" + END + gzip.compress(b"x" * 900, mtime=0),
        "bomb": b"\n\n\ngzip" + END + gzip.compress(bytes(1 << 20), mtime=0),
        "two-members": b"\n\n\ngzip" + END + gzip.compress(b"x", mtime=0) * 20,
        "aws": b"\n1000\n\naws-chunked, identity" + END + b"x" * 1000,
        "busy": b"xxxx\n\n\n\n\nThu, 01 Jan 2026 00:00:09 GMT" + END,
        "brotli": b"\n\n\nbr, \x1b[2J" + END,
    },
    max_len=2048,
    words=(b"bytes ", b"/*", b"gzip", b"deflate", b"multipart/byteranges", b"\x1f\x8b\x08", b"\n"),
)
