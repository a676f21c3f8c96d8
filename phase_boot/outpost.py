"""The process that talks to the network, put together, and our ends of the sockets to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from phase_boot.adapters.http import Http
from phase_boot.adapters.mdns import Mdns
from phase_boot.outside.client import Outside
from phase_boot.outside.neighbours import OutsideNeighbours, lend
from phase_boot.outside.server import Means, serve
from phase_boot.outside.start import Started, start
from phase_boot.provider.errors import ProvideError
from phase_boot.provider.listen import bind
from phase_boot.provider.peer_server import PeerServer


@dataclass(frozen=True, slots=True)
class Outpost:
    """The process, and what it does for us; both ports belong to the event loop of one run."""

    process: Started
    lending: socket.socket
    port: int

    def outside(self) -> Outside:
        """Return who finds and fetches."""
        return Outside(self.process.control)

    def neighbours(self) -> OutsideNeighbours:
        """Return who serves others that fetch, and speaks to providers of it."""
        return OutsideNeighbours(self.lending, self.port)

    def stop(self) -> None:
        """End it, and return when it has ended."""
        self.lending.close()
        self.process.stop()


def send_out(*, user: int | None, finds: bool, port: int = 0) -> Outpost:
    """Start it; call this before there are threads, files or an event loop.

    Args:
        user: the id of the user it becomes, where we are root; None stays who we are.
        finds: whether it looks at the LAN by mDNS.
        port: where it answers others, once there is something to hand on; 0 takes a free one.

    Raises:
        ProvideError: that port cannot be had.
    """
    try:
        waiting = bind(port=port)
    except ProvideError:
        if port:
            raise
        # Nobody can be served on this machine; a provider that is told port 0 sends nobody here.
        waiting = []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    async def body(control: socket.socket) -> None:
        ours.close()
        await _serve(control, theirs, waiting, finds=finds)

    process = start(body, user=user)
    theirs.close()
    taken = waiting[0].getsockname()[1] if waiting else 0
    for one in waiting:
        one.close()
    return Outpost(process, ours, taken)


async def _serve(
    control: socket.socket,
    lending: socket.socket,
    waiting: Sequence[socket.socket],
    *,
    finds: bool,
) -> None:
    """Run in the process that talks to the network, for as long as it is asked."""
    http, mdns = Http(), Mdns() if finds else None
    hand = PeerServer(waiting, http)
    warmers = (mdns.warm, http.warm) if mdns is not None else (http.warm,)
    async with _warming(*warmers):
        lends = asyncio.create_task(lend(lending, hand))
        try:
            await serve(control, Means(finder=mdns, fetcher=http, parts=http))
        finally:
            lends.cancel()
            await asyncio.gather(lends, return_exceptions=True)
            await hand.close()
            await http.close()


@contextlib.asynccontextmanager
async def _warming(*warmers: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Import the slow libraries one after the other while whoever sent us out gets ready."""

    async def warm() -> None:
        for warmer in warmers:
            await warmer()

    task = asyncio.create_task(warm())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
