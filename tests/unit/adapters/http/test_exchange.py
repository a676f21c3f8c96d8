"""One request with any method and a body to a named server, and its bounded response."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from phase_boot.adapters.http.client import Client
from phase_boot.adapters.http.exchange import Answer, Request, exchange
from phase_boot.ports.fetcher import FetchFailed
from tests.support.http_server import ok, server


@asynccontextmanager
async def client() -> AsyncIterator[Client]:
    made = Client(stall_seconds=5, wall=lambda: datetime.now(UTC))
    try:
        yield made
    finally:
        await made.close()


async def exchanged(given: bytes | None, **more: Any) -> tuple[Answer, str]:
    """Return the answer to a request, and the head of the request."""
    heads: list[str] = []

    def respond(head: str) -> bytes | None:
        heads.append(head)
        return given

    fields: dict[str, Any] = {"method": "GET", "limit": 10, "seconds": 0.5, **more}
    async with server(respond) as url, client() as http:
        answer = await exchange(http, Request(url=url, **fields))
    return answer, heads[0]


async def test_the_method_the_headers_and_the_body_are_sent() -> None:
    kind = {"Content-Type": "application/x-test"}
    answer, head = await exchanged(ok(b"taken"), method="PUT", headers=kind, body=b"1234567")
    assert answer == Answer(200, "application/octet-stream", b"taken")
    assert head.startswith("PUT /x HTTP/1.1\r\n")
    assert "Content-Type: application/x-test\r\n" in head
    assert "Content-Length: 7\r\n" in head


async def test_a_status_is_not_a_failure_and_its_body_is_cut() -> None:
    page = ok(b"x" * 5000, "Content-Type: Text/HTML; charset=utf-8", status="504 Gateway Timeout")
    answer, _ = await exchanged(page)
    assert answer == Answer(504, "text/html", b"x" * 10)


async def test_a_redirect_is_returned_and_not_followed() -> None:
    moved = ok(b"", "Location: http://127.0.0.1:1/", status="307 Temporary Redirect")
    answer, _ = await exchanged(moved, method="PUT", body=b"secret")
    assert answer.status == 307


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (ok(b"x" * 11), "larger than 10 bytes"),
        (ok(b"x", length=5), "ended before"),
        (b"no HTTP at all\r\n\r\n", "no HTTP"),
        (None, "within 0.5 seconds"),
    ],
    ids=["too large", "cut off", "no HTTP", "silence"],
)
async def test_a_response_that_cannot_be_used_is_a_failure(
    given: bytes | None, reason: str
) -> None:
    with pytest.raises(FetchFailed, match=reason):
        await exchanged(given)


async def test_a_text_that_is_no_url_is_a_failure() -> None:
    async with client() as http:
        with pytest.raises(FetchFailed, match="no usable URL"):
            await exchange(http, Request(method="GET", url="file:///x", limit=1, seconds=1))


# ---- a body in pieces ----------------------------------------------------------------------------

PIECE = bytes(256 * 1024)
Reading = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def reading(handle: Reading) -> AsyncIterator[str]:
    """Serve the head of one request after the other to ``handle``, with a small window."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        listening.bind(("127.0.0.1", 0))
        listener = await asyncio.start_server(connected, sock=listening, limit=64 * 1024)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        listener.close()


async def sent(handle: Reading, body: Iterable[bytes], seconds: float) -> Answer:
    async with reading(handle) as url, client() as http:
        request = Request(method="POST", url=url, body=body, limit=100, seconds=seconds)
        return await exchange(http, request)


async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read the whole body with pauses and answer with its number of bytes."""
    size = 0
    while (part := await reader.read(64 * 1024)) and not part.endswith(b"0\r\n\r\n"):
        size += len(part)
        await asyncio.sleep(0.01)
    writer.write(ok(b"%d" % (size + len(part))))


async def never_read(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def answer_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer before the body was read, and read none of it."""
    writer.write(ok(b"full", status="500 Internal Server Error"))
    await writer.drain()
    await asyncio.sleep(30)


async def test_a_body_in_pieces_has_more_time_with_each() -> None:
    begun = time.monotonic()
    answer = await sent(read_slowly, itertools.repeat(PIECE, 64), seconds=1.5)
    assert time.monotonic() - begun > 1.5
    assert int(answer.body) > 64 * len(PIECE)


async def test_a_server_that_takes_no_more_of_a_body_is_a_failure() -> None:
    taken: list[bytes] = []

    def body() -> Iterator[bytes]:
        for _ in range(1000):
            taken.append(PIECE)
            yield PIECE

    with pytest.raises(FetchFailed, match=r"take the next bytes within 0\.3 seconds"):
        await sent(never_read, body(), seconds=0.3)
    assert len(taken) < 100


async def test_an_answer_before_the_end_of_the_body_ends_the_request() -> None:
    async with asyncio.timeout(10):
        answer = await sent(answer_at_once, itertools.repeat(PIECE, 1000), seconds=20)
    assert (answer.status, answer.body) == (500, b"full")


async def test_a_body_that_fails_is_not_ended_as_if_it_were_whole() -> None:
    received = bytearray()

    async def read_all(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(-1))

    def body() -> Iterator[bytes]:
        yield b"first"
        raise KeyError("second")

    with pytest.raises(KeyError, match="second"):
        await sent(read_all, body(), seconds=5)
    assert b"0\r\n\r\n" not in received
