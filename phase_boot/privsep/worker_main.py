"""Composition root of the network worker: what runs in the confined process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from phase_boot.adapters.finders.mdns import MdnsFinder
from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.privsep.peer_channel import serve_peer_channel
from phase_boot.privsep.server import WorkerServices, serve
from phase_boot.provider.swarm.peer_server import PeerServer


async def run_worker(
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
