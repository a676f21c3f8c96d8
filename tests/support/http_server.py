"""An HTTP server on loopback that sends given bytes, and a client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.adapters.net.address_watch import on_link
from policies.model import Reach

BODY = bytes(range(256)) * 400


def ok(body: bytes, *headers: str, length: int | None = None, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*head, *headers, "Connection: close", "", ""]).encode() + body


@asynccontextmanager
async def server(
    answer: Callable[[str], bytes | None], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve ``answer(request head)`` on loopback; None means no response."""
    asked: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        data = answer(head)
        try:
            if data is None:
                await reader.read()
            else:
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(asyncio.create_task(handle(reader, writer)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"https://localhost:{port}/x" if tls else f"http://127.0.0.1:{port}/x"
    finally:
        listener.close()
        async with asyncio.timeout(5):
            await asyncio.gather(*asked, return_exceptions=True)


@asynccontextmanager
async def fetcher(
    stall_seconds: float = 5, near: Callable[[str], bool] = on_link
) -> AsyncIterator[HttpFetcher]:
    http = HttpFetcher(stall_seconds=stall_seconds, near=near)
    try:
        yield http
    finally:
        await http.close()


async def streamed(answer: Callable[[str], bytes | None], *, offset: int = 0) -> bytes:
    async with server(answer) as url, fetcher(0.3) as http:
        pieces = http.stream(url, offset=offset, size=len(BODY), reach=Reach.INTERNET)
        return b"".join([piece async for piece in pieces])


async def part(
    answer: Callable[[str], bytes | None], *, offset: int = 1000, length: int = 5000
) -> bytes:
    async with server(answer) as url, fetcher(0.3) as http:
        pieces = http.span(url, offset=offset, length=length, reach=Reach.INTERNET)
        return b"".join([piece async for piece in pieces])


def partial(first: int, last: int, *headers: str, size: int = len(BODY)) -> bytes:
    content_range = f"Content-Range: bytes {first}-{last}/{size}"
    return ok(BODY[first : last + 1], content_range, *headers, status="206 Partial Content")


def page(body: bytes, kind: str) -> bytes:
    return ok(body, f"Content-Type: {kind}")
