"""Responses to ranges and files on real sockets: correct bytes are used."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from phase_boot.adapters.http.fetcher import MAX_PARTS, HttpFetcher
from phase_boot.adapters.http.response import SPARE, ResponseHead, failure_of
from phase_boot.ports.fetcher import FetchFailed, Intercepted, RangesUnsupported
from policies.model import Reach
from tests.support.http_server import BODY, fetcher, ok, part, partial, server, streamed

Asked = Callable[[str], bytes]


def span_of(head: str) -> tuple[int, int]:
    """The range that a request asks for."""
    (line,) = [line for line in head.split("\r\n") if line.startswith("Range: bytes=")]
    first, last = line.removeprefix("Range: bytes=").split("-")
    return int(first), min(int(last), len(BODY) - 1)


def labelled(label: str | None, *, first: int = 0, last: int | None = None) -> Asked:
    """A server that answers a range with bytes that are shifted, and calls them ``label``."""

    def answer(head: str) -> bytes:
        start, end = span_of(head)
        start, end = start + first, end if last is None else min(end, start + last)
        named = label and label.format(start=start, end=end, size=len(BODY))
        headers = [] if named is None else [f"Content-Range: {named}"]
        return ok(BODY[start : end + 1], *headers, status="206 Partial Content")

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        labelled("bytes {start}-{end}/*"),
        labelled("bytes {start}-{end}/{size}"),
        labelled("Bytes {start}-{end}/{size}"),
        labelled("bytes={start}-{end}/{size}"),
        labelled("bytes {end}-{start}/{size}"),
        labelled("nonsense"),
        labelled(None),
        labelled("bytes {start}-{end}/{size}", last=999),
        labelled("bytes {start}-{end}/*", last=999),
        labelled(None, last=999),
        labelled("bytes {start}-{end}/{size}", first=-7),
        labelled("bytes {start}-{end}/{size}", first=-1000, last=2000),
        lambda _: partial(1000, 6000),
        lambda _: partial(0, len(BODY) - 1),
        lambda _: partial(1000, 5999, size=3000),
        lambda _: partial(1000, 5999, "Content-Encoding: "),
        lambda _: partial(1000, 5999, "Content-Encoding: identity, aws-chunked"),
        lambda _: b"HTTP/1.1 206 x\r\nConnection: close\r\n\r\n" + BODY[1000:6000],
    ],
)
async def test_a_range_is_read_despite_a_false_content_range(answer: Asked) -> None:
    assert await part(answer) == BODY[1000:6000]


async def test_the_rest_of_a_short_range_is_requested() -> None:
    asked: list[tuple[int, int]] = []

    def answer(head: str) -> bytes:
        asked.append(span_of(head))
        return labelled("bytes {start}-{end}/*", last=1999)(head)

    assert await part(answer) == BODY[1000:6000]
    assert asked == [(1000, 5999), (3000, 5999), (5000, 5999)]


async def test_a_part_beyond_the_end_of_a_file_of_unknown_size_ends_with_the_file() -> None:
    def answer(head: str) -> bytes:
        if span_of(head)[0] >= len(BODY):
            return ok(b"", status="416 Range Not Satisfiable")
        return labelled("bytes {start}-{end}/*")(head)

    assert await part(answer, offset=len(BODY) - 7) == BODY[-7:]


async def test_a_server_with_ranges_of_one_byte_is_given_up() -> None:
    with pytest.raises(FetchFailed, match=f"in more than {MAX_PARTS} answers") as caught:
        await part(labelled("bytes {start}-{end}/*", last=0))
    assert not caught.value.retryable


async def test_a_server_with_empty_ranges_is_given_up() -> None:
    with pytest.raises(FetchFailed, match="sent nothing"):
        await part(lambda _: ok(b"", status="206 Partial Content"))


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize(
    "answer",
    [
        lambda _: ok(BODY),
        lambda _: ok(BODY, "Content-Encoding:"),
        lambda _: ok(BODY, "Content-Encoding: aws-chunked"),
        lambda _: ok(BODY, "Content-Encoding: gzip"),
        lambda _: ok(gzip.compress(BODY), "Content-Encoding: gzip"),
        lambda _: ok(gzip.compress(BODY), "Content-Encoding: x-gzip, aws-chunked"),
        lambda _: ok(zlib.compress(BODY), "Content-Encoding: deflate"),
        lambda _: ok(
            gzip.compress(BODY[:999]) + gzip.compress(BODY[999:]), "Content-Encoding: gzip"
        ),
        lambda _: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
        lambda _: (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{len(BODY):x}\r\n".encode()
            + BODY
            + b"\r\n0\r\n\r\n"
        ),
    ],
    ids=[
        "plain",
        "empty",
        "aws-chunked",
        "label-only",
        "gzip",
        "gzip-and-aws",
        "deflate",
        "two-members",
        "no-length",
        "chunked",
    ],
)
async def test_a_whole_file_is_read_in_any_content_encoding(answer: Asked, offset: int) -> None:
    assert await streamed(answer, offset=offset) == BODY[offset:]


@pytest.mark.parametrize(
    "refusal",
    [
        ok(b"", status="416 Range Not Satisfiable"),
        partial(5, 99),
        partial(5, 99, "Content-Encoding: gzip"),
        ok(BODY, "Content-Type: multipart/byteranges; boundary=x", status="206 Partial Content"),
    ],
    ids=["416", "another-range", "encoded", "multipart"],
)
async def test_a_file_is_requested_whole_if_ranges_fail(
    refusal: bytes,
) -> None:
    asked: list[bool] = []

    def answer(head: str) -> bytes:
        asked.append("Range:" in head)
        return refusal if asked[-1] else ok(BODY)

    assert await streamed(answer, offset=1000) == BODY[1000:]
    assert asked == [True, False]
    with pytest.raises(RangesUnsupported):
        await part(lambda _: refusal)


async def test_a_bomb_is_decoded_no_further_than_the_signed_size() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    taken: list[bytes] = []

    async def take(url: str, http: HttpFetcher) -> None:
        async for piece in http.stream(url, offset=0, size=len(BODY), reach=Reach.INTERNET):
            taken.append(piece)  # noqa: PERF401 - those before a failure count

    async with server(lambda _: ok(bomb, "Content-Encoding: gzip")) as url, fetcher() as http:
        with pytest.raises(FetchFailed, match="sent more than"):
            await take(url, http)
        assert len(b"".join(taken)) <= len(BODY)
        with pytest.raises(FetchFailed, match="larger than 4096 bytes"):
            await http.read(url, limit=4096, reach=Reach.INTERNET)


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"\x1f\x8b\x08nonsense", "damaged"),
        (gzip.compress(BODY)[:-9], "ends too early"),
        (gzip.compress(b"") * ((len(BODY) * 9 // 8 + SPARE) // 20 + 9), "longer than the file"),
    ],
    ids=["damaged", "cut", "endless"],
)
async def test_an_unknown_content_encoding_is_named(packed: bytes, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        await streamed(lambda _: ok(packed, "Content-Encoding: gzip"))


async def test_an_encoded_document_is_read_and_a_portals_page_is_still_one() -> None:
    async with fetcher() as http:
        packed = ok(gzip.compress(b"{}"), "Content-Encoding: gzip")
        async with server(lambda _: packed) as url:
            assert await http.read(url, limit=10, reach=Reach.INTERNET) == b"{}"
        form = ok(gzip.compress(b"<html>"), "Content-Encoding: gzip")
        async with server(lambda _: form) as url:
            with pytest.raises(Intercepted):
                await http.read(url, limit=10, reach=Reach.INTERNET)


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "headers", "seconds", "again"),
    [
        (503, {"Retry-After": "2"}, 2.0, True),
        (429, {"Retry-After": "100000"}, 300.0, True),
        (429, {"Retry-After": "soon"}, None, True),
        (503, {"Retry-After": "Thu, 01 Jan 2026 00:00:09 GMT"}, 9.0, True),
        (503, {}, None, True),
        (403, {}, None, False),
    ],
)
def test_retry_after_is_bounded(
    status: int,
    headers: dict[str, str],
    seconds: float | None,
    again: bool,  # noqa: FBT001 - a case
) -> None:
    failure = failure_of(
        "http://h/", ResponseHead(status=status, headers=headers, length=None), NOW
    )
    assert (failure.retry_after, failure.retryable) == (seconds, again)


async def test_retry_after_reaches_the_caller() -> None:
    busy = ok(b"", "Retry-After: 2", status="503 Later")
    async with server(lambda _: busy) as url, fetcher() as http:
        with pytest.raises(FetchFailed, match="HTTP 503") as caught:
            await http.read(url, limit=10, reach=Reach.INTERNET)
    assert caught.value.retry_after == 2.0


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n", b"", ok(BODY)[:-1]],
    ids=["garbage", "control", "nothing", "cut"],
)
async def test_no_library_message_reaches_the_output(answer: bytes) -> None:
    with pytest.raises(FetchFailed) as caught:
        await streamed(lambda _: answer)
    assert str(caught.value) in {
        "the connection failed: its answer is no HTTP",
        "the connection failed: it was closed without an answer",
        "the connection failed: it ended before the answer did",
    }


async def test_a_false_gzip_label_is_ignored_if_the_size_of_the_whole_is_known() -> None:
    with pytest.raises(RangesUnsupported):
        await part(lambda _: ok(BODY, "Content-Encoding: gzip"), offset=0)
    every = await part(lambda _: ok(BODY, "Content-Encoding: gzip"), offset=0, length=len(BODY))
    assert every == BODY
