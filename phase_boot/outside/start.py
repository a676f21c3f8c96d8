"""Starting the process, and taking everything from it that it does not need."""

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
_FEW_THREADS: Final = 64
_LIMITS: Final = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_NPROC, _FEW_THREADS),
)


@dataclass(frozen=True, slots=True)
class Started:
    """The process, and the socket over which it is asked."""

    pid: int
    control: socket.socket

    def stop(self) -> None:
        """End it, and return when it has ended."""
        self.control.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def start(
    body: Callable[[socket.socket], Coroutine[Any, Any, None]], *, user: int | None
) -> Started:
    """Run ``body`` in a process that may use the network and nothing else.

    It is a fork, which costs next to nothing: call this before there are threads, files or an
    event loop. It ends when we do.

    Args:
        body: what it runs, with its end of the control socket.
        user: the id of the user it becomes, where we are root; None stays who we are.
    """
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Started(pid, ours)
    status = 1
    try:
        ours.close()
        _confine(user, parent)
        asyncio.run(body(theirs))
        status = 0
    except KeyboardInterrupt:
        pass
    finally:
        # Not sys.exit: nothing of what the parent wanted done at its end is ours to do.
        os._exit(status)


def _confine(user: int | None, parent: int) -> None:
    """Give up every right that is not needed; whatever cannot be given up ends the process."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a descriptor is what counts here
        os.dup2(nothing.fileno(), 0)
    if user is not None:
        for kind, most in _LIMITS:
            resource.setrlimit(kind, (most, most))
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # After the change of user, which clears it.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
