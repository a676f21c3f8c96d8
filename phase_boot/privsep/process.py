"""The unprivileged process of the network worker, and its control socket."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from phase_boot.sandbox.process import Child, Confinement, confine, spawn

_MAX_THREADS: Final = 64
_LIMITS: Final = {
    resource.RLIMIT_CORE: (0, 0),
    resource.RLIMIT_FSIZE: (0, 0),
    resource.RLIMIT_NPROC: (_MAX_THREADS, _MAX_THREADS),
}


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """The child process and its control socket."""

    child: Child
    control: socket.socket

    def stop(self) -> None:
        """Kill the child and wait for its exit."""
        self.control.close()
        self.child.stop()


def spawn_worker(
    body: Callable[[socket.socket], Coroutine[Any, Any, None]], *, user: int | None
) -> WorkerProcess:
    """Run ``body`` in a confined child process that keeps access to the network only.

    Call this before the process has threads, open files or an event loop.

    Args:
        body: the coroutine of the child; it receives the child's end of the control socket.
        user: the user and group id that the child takes if this process is root; None keeps them.
            The limits count per user, so they are set for a user of its own only.
    """
    ours, theirs = socket.socketpair()

    def run() -> None:
        ours.close()
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is what counts here
            os.dup2(nothing.fileno(), 0)
        confine(Confinement(user=user, limits={} if user is None else _LIMITS))
        with suppress(KeyboardInterrupt):
            asyncio.run(body(theirs))

    child = spawn(run)
    theirs.close()
    return WorkerProcess(child, ours)
