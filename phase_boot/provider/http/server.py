"""aiohttp's low-level server behind a connection limiter."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from phase_boot.provider.events import Emit, RequestAnswered
from phase_boot.provider.http.connections import Connections
from phase_boot.provider.http.handlers import HANDLED, RequestHandler
from phase_boot.provider.limits import Limits


class Server(web.Server):
    """aiohttp's low-level server, which knows the connections that wait for its response.

    Attributes:
        answering: connections with a GET or HEAD request in progress. POST requests do not count:
            their body may never arrive.
    """

    def __init__(self, request_handler: RequestHandler, limits: Limits, emit: Emit) -> None:
        quiet = logging.getLogger("phase_boot.provider.aiohttp")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        super().__init__(
            self._answer,
            access_log_class=_log_unparsable(emit),
            access_log=quiet,
            logger=quiet,
            keepalive_timeout=limits.request_read_seconds,
            lingering_time=0,
        )
        self._handler = request_handler
        self.answering: set[asyncio.BaseTransport] = set()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        if transport is None or request.method not in {"GET", "HEAD"}:
            return await self._handler.handle(request)
        self.answering.add(transport)
        try:
            return await self._handler.handle(request)
        finally:
            self.answering.discard(transport)


def make_server(request_handler: RequestHandler, limits: Limits, emit: Emit) -> Server:
    """Return aiohttp's low-level server: no routes, no decoding, no tracebacks."""
    return Server(request_handler, limits, emit)


class ConnectionLimiter:
    """Admits connections within the limits, in all and per client network."""

    def __init__(self, server: Server, limits: Limits) -> None:
        self._server = server
        self._connections = Connections(limits, answering=server.answering)

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol for a new connection."""
        return _AdmissionProtocol(self._server, self._connections)


class _AdmissionProtocol(asyncio.Protocol):
    """Passes an admitted connection to the server; any other is closed unread."""

    def __init__(self, server: web.Server, connections: Connections) -> None:
        self._server = server
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or abort it."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a provider serves stream transports only")
        peer = transport.get_extra_info("peername") or ("",)
        if not self._connections.admit(transport, str(peer[0]), _now()):
            transport.abort()
            return
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _log_unparsable(emit: Emit) -> type[AbstractAccessLogger]:
    """Return an aiohttp access logger that emits events for unparsable requests."""

    class UnparsableLog(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            if HANDLED not in request:
                emit(
                    RequestAnswered(
                        peer=request.remote or "",
                        method="",
                        path="",
                        status=response.status,
                        bytes=response.body_length,
                        seconds=round(time, 6),
                        error="not readable as HTTP",
                    )
                )

    return UnparsableLog
