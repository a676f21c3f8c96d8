"""Composition root of the network worker: its adapters, its sockets and the handle to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from phase_boot.adapters.finders.mdns import MdnsFinder
from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.privsep.client import WorkerClient
from phase_boot.privsep.peer_channel import PeerChannel, serve_peer_channel
from phase_boot.privsep.process import WorkerProcess, spawn_worker
from phase_boot.privsep.server import WorkerServices, serve
from phase_boot.provider.errors import ProvideError
from phase_boot.provider.listen import bind
from phase_boot.provider.swarm.peer_server import PeerServer


@dataclass(frozen=True, slots=True)
class NetworkWorker:
    """The worker process and its sockets; the ports it returns belong to one event loop."""

    process: WorkerProcess
    peer_socket: socket.socket
    port: int

    def client(self) -> WorkerClient:
        """Return the finder and fetcher that the worker implements."""
        return WorkerClient(self.process.control)

    def peer_channel(self) -> PeerChannel:
        """Return the port by which the worker shares pieces and posts to trackers."""
        return PeerChannel(self.peer_socket, self.port)

    def stop(self) -> None:
        """Kill the worker and wait for its exit."""
        self.peer_socket.close()
        self.process.stop()


def start_worker(*, user: int | None, discovers: bool, port: int = 0) -> NetworkWorker:
    """Start the worker; call this before the process has threads, open files or an event loop.

    Args:
        user: the user and group id that the worker takes if this process is root; None keeps them.
        discovers: whether it browses the LAN by mDNS.
        port: the TCP port on which it serves peers, once an artifact is shared; 0 takes a free one.

    Raises:
        ProvideError: ``port`` cannot be bound.
    """
    try:
        listeners = bind(port=port)
    except ProvideError:
        if port:
            raise
        # No peer can be served; a tracker refuses port 0, so no peer connects.
        listeners = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    async def body(control: socket.socket) -> None:
        ours.close()
        await _run_worker(control, theirs, listeners, discovers=discovers)

    process = spawn_worker(body, user=user)
    theirs.close()
    bound_port = listeners[0].getsockname()[1] if listeners else 0
    for sock in listeners:
        sock.close()
    return NetworkWorker(process, ours, bound_port)


async def _run_worker(
    control: socket.socket,
    peer_socket: socket.socket,
    listeners: Sequence[socket.socket],
    *,
    discovers: bool,
) -> None:
    """Run the worker until its control socket is closed."""
    http, mdns = HttpFetcher(), MdnsFinder() if discovers else None
    peer_server = PeerServer(listeners, http)
    preloads = (mdns.warm, http.warm) if mdns is not None else (http.warm,)
    async with _preloading(*preloads):
        peer_task = asyncio.create_task(serve_peer_channel(peer_socket, peer_server))
        try:
            await serve(control, WorkerServices(finder=mdns, fetcher=http, ranges=http))
        finally:
            peer_task.cancel()
            await asyncio.gather(peer_task, return_exceptions=True)
            await peer_server.close()
            await http.close()


@contextlib.asynccontextmanager
async def _preloading(*preloads: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Import slow libraries one after the other while the main process starts."""

    async def warm() -> None:
        for preload in preloads:
            await preload()

    task = asyncio.create_task(warm())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
