"""Spawning an unprivileged child process (fork, setresuid, rlimits, no_new_privs)."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_MAX_THREADS: Final = 64
_LIMITS: Final = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_NPROC, _MAX_THREADS),
)


@dataclass(frozen=True, slots=True)
class Child:
    """A child process and its control socket."""

    pid: int
    control: socket.socket

    def stop(self) -> None:
        """Kill the child and wait for its exit."""
        self.control.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def spawn(body: Callable[[socket.socket], Coroutine[Any, Any, None]], *, user: int | None) -> Child:
    """Run ``body`` in a confined child process that keeps access to the network only.

    The child is a fork without exec, so call this before the process has threads, open files or an
    event loop. The kernel kills it when its parent exits.

    Args:
        body: the coroutine of the child; it receives the child's end of the control socket.
        user: the user and group id that the child takes if this process is root; None keeps them.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Child(pid, ours)
    status = 1
    try:
        ours.close()
        confine(user, parent)
        asyncio.run(body(theirs))
        status = 0
    except KeyboardInterrupt:
        pass
    finally:
        # Not sys.exit: the exit handlers inherited from the parent must not run here.
        os._exit(status)


def confine(user: int | None, parent: int) -> None:
    """Drop privileges; a failure ends the process."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is what counts here
        os.dup2(nothing.fileno(), 0)
    if user is not None:
        for kind, maximum in _LIMITS:
            resource.setrlimit(kind, (maximum, maximum))
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # After setresuid, which clears it.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
