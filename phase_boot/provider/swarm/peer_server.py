"""Peer server: serves the pieces of artifacts that are being downloaded; runs in the worker."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from phase_boot.ports.peer_sharing import SharedArtifact
from phase_boot.provider.limits import Limits
from phase_boot.provider.listen import BACKLOG
from policies.model import Reach

LIMITS: Final = Limits(connections=128, connections_per_address=96)
"""A booting machine has little memory."""
_SERVER_MODULES: Final = ("phase_boot.provider.http.server", "phase_boot.provider.http.handlers")


if TYPE_CHECKING:
    from phase_boot.provider.backends.partial_backend import PartialBackend


class HttpPoster(Protocol):
    """Posts to a tracker; see `ports.peer_sharing.PeerSharing.post`."""

    def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> Awaitable[bytes]:
        """POST ``body`` to ``url`` and return the response body."""


class PeerServer:
    """Implements `ports.peer_sharing.PeerResponder` over bound sockets that do not listen yet.

    They listen from the first shared artifact on. The import of the HTTP server takes about a
    second on a slow machine, so the first connection triggers it.
    """

    def __init__(self, sockets: Sequence[socket.socket], poster: HttpPoster) -> None:
        """Take the bound sockets, which `close` closes, and the client that posts to trackers."""
        self._sockets = sockets
        self._poster = poster
        self._backend: PartialBackend | None = None
        self._opening: asyncio.Task[None] | None = None
        self._listeners: list[asyncio.Server] = []

    def share(self, share: SharedArtifact, file: int, bitfield: int) -> None:
        """Serve the marked pieces of a file; takes ownership of both descriptors."""
        if self._backend is None:
            from phase_boot.provider.backends.partial_backend import PartialBackend  # noqa: PLC0415 - not while booting

            self._backend = PartialBackend()
            self._listen()
        self._backend.share(share, file, bitfield)

    def clear(self) -> None:
        """Stop serving, and close the shared files."""
        if self._backend is not None:
            self._backend.clear()

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """Implement `PeerSharing.post`."""
        return await self._poster.post(url, body, limit=limit, reach=reach)

    async def close(self) -> None:
        """Close the sockets and the server."""
        self._stop_watching()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        for sock in self._sockets:
            sock.close()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            sock.setblocking(False)  # noqa: FBT003 - the standard library's own signature
            sock.listen(BACKLOG)
            loop.add_reader(sock, self._on_connect)

    def _on_connect(self) -> None:
        """Import and start the server for the first connection."""
        self._stop_watching()
        self._opening = asyncio.create_task(self._open())

    def _stop_watching(self) -> None:
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            if sock.fileno() >= 0:
                loop.remove_reader(sock)

    async def _open(self) -> None:
        http_server, handlers = [
            await asyncio.to_thread(importlib.import_module, name) for name in _SERVER_MODULES
        ]
        handler = handlers.RequestHandler(self._backend, LIMITS, _discard_event)
        server = http_server.make_server(handler, LIMITS, _discard_event)
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            self._listeners.append(
                await loop.create_server(http_server.ConnectionLimiter(server, LIMITS), sock=sock)
            )


def _discard_event(event: object) -> None:
    """Drop an event: the worker has no journal."""
