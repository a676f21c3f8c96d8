"""The door of a provider: how many it lets in, and how aiohttp's server is set up behind it."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from phase_boot.provider.answers import ANSWERED, Answers
from phase_boot.provider.events import RequestAnswered, Tell
from phase_boot.provider.limits import Limits


def make_server(answers: Answers, limits: Limits, tell: Tell) -> web.Server:
    """Return aiohttp's low-level server over ``answers``: no routes, no decoding, no tracebacks."""
    quiet = logging.getLogger("phase_boot.provider.aiohttp")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    return web.Server(
        answers.answer,
        access_log_class=_teller_of_the_unreadable(tell),
        access_log=quiet,
        logger=quiet,
        keepalive_timeout=limits.silence_seconds,
        lingering_time=0,
    )


class Door:
    """Lets so many connections in at once."""

    def __init__(self, server: web.Server, limits: Limits) -> None:
        self._server = server
        self._limits = limits

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol for a new connection."""
        if len(self._server.connections) >= self._limits.connections:
            return _Closed()
        return self._server()


class _Closed(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _teller_of_the_unreadable(tell: Tell) -> type[AbstractAccessLogger]:
    """Return the access log of aiohttp, which also sees requests that cannot be parsed."""

    class Teller(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            if ANSWERED not in request:
                tell(
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

    return Teller
