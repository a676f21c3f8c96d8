"""Starts the network worker, and the handle to it.

This module imports what both processes need, and no adapter: the worker imports its own
(`worker_main`) while the process that started it imports the machine.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from phase_boot.privsep.client import WorkerClient
from phase_boot.privsep.peer_channel import PeerChannel
from phase_boot.privsep.process import WorkerProcess, spawn_worker
from phase_boot.provider.errors import ProvideError
from phase_boot.provider.listen import bind


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
        from phase_boot.privsep.worker_main import run_worker  # noqa: PLC0415 - only in the child

        ours.close()
        await run_worker(control, theirs, listeners, discovers=discovers)

    process = spawn_worker(body, user=user)
    theirs.close()
    bound_port = listeners[0].getsockname()[1] if listeners else 0
    for sock in listeners:
        sock.close()
    return NetworkWorker(process, ours, bound_port)
