"""Gateways on loopback that answer in a wrong way, over real HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.entity_cars import EntityCars

Answer = Callable[["HostileGateway", web.Request], Awaitable[web.StreamResponse]]


@dataclass
class HostileGateway:
    """A gateway of one file. It has the nodes above the chunks, and misbehaves for all else.

    Attributes:
        file: what it serves.
        answer: its response to a request for the file or a CAR of it.
        requests: how many requests of each format came.
        url: its base URL while it runs.
    """

    file: EntityCars
    answer: Answer
    requests: Counter[str] = field(default_factory=Counter)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Respond to one request."""
        form = request.query.get("format", "file")
        self.requests[form] += 1
        if form != "raw":
            return await self.answer(self, request)
        cid = request.path.rpartition("/")[2]
        nodes = {str(each): block for each, block in self.file.blocks.items()}
        if cid in nodes and cid.startswith("bafyb"):
            return web.Response(body=nodes[cid])
        raise web.HTTPNotFound

    def car(self, request: web.Request) -> bytes:
        """Return the CAR that is requested; empty for another request."""
        return self.file.answer(request.path_qs) or b""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[HostileGateway]:
        """Serve on a free port of loopback."""
        app = web.Application()
        app.router.add_get("/{tail:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


async def not_acceptable(_: HostileGateway, __: web.Request) -> web.StreamResponse:
    """Refuse everything but blocks."""
    raise web.HTTPNotAcceptable


async def page(_: HostileGateway, __: web.Request) -> web.StreamResponse:
    """Answer with a page."""
    return web.Response(text="<html>" * 200_000, content_type="text/html")


async def elsewhere(_: HostileGateway, __: web.Request) -> web.StreamResponse:
    """Redirect to a service of this machine that a gateway may not name."""
    raise web.HTTPMovedPermanently("http://169.254.169.254/latest/meta-data")


async def gateway_timeout(_: HostileGateway, __: web.Request) -> web.StreamResponse:
    """Answer 504 after a silence."""
    await asyncio.sleep(0.2)
    raise web.HTTPGatewayTimeout


async def cut(gateway: HostileGateway, request: web.Request) -> web.StreamResponse:
    """Break the connection off in the middle of a CAR."""
    whole = gateway.car(request)
    if not whole:
        raise web.HTTPNotAcceptable
    return await _stream(request, whole[: len(whole) // 2], close=True)


async def extra(gateway: HostileGateway, request: web.Request) -> web.StreamResponse:
    """Send bytes after a CAR."""
    whole = gateway.car(request)
    if not whole:
        raise web.HTTPNotAcceptable
    return await _stream(request, whole + whole[59:200])


async def endless(gateway: HostileGateway, request: web.Request) -> web.StreamResponse:
    """Send a CAR, and zeros for ever."""
    whole = gateway.car(request)
    if not whole:
        raise web.HTTPNotAcceptable
    return await _stream(request, whole, zeros=True)


async def other_root(gateway: HostileGateway, request: web.Request) -> web.StreamResponse:
    """Send the CAR of another file."""
    if not gateway.car(request):
        raise web.HTTPNotAcceptable
    other = EntityCars(gateway.file.data[::-1], gateway.file.chunks)
    other.root = next(cid for cid in gateway.file.blocks if cid != gateway.file.root)
    return await _stream(request, other.car(0, 0) if other.root in other.blocks else b"")


async def without_duplicates(gateway: HostileGateway, request: web.Request) -> web.StreamResponse:
    """Leave repeated blocks out, as kubo does by default."""
    whole = gateway.file.answer(request.path_qs, dups=False)
    if not whole:
        raise web.HTTPNotAcceptable
    return await _stream(request, whole)


async def _stream(
    request: web.Request, data: bytes, *, close: bool = False, zeros: bool = False
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/vnd.ipld.car"})
    await response.prepare(request)
    await response.write(data)
    while zeros:
        await response.write(bytes(65536))
    if close and request.transport is not None:
        request.transport.abort()
    return response
