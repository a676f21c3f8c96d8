"""Spawning and confining child processes: the only code that gives up rights of a process.

The child is a fork without exec, so it needs no program file and starts in a millisecond. It gives
up its rights before it touches untrusted input, as OpenSSH's privilege separation does. Each
setting is read back after it was requested, because a kernel may accept a call and ignore it.

Call `spawn` before the process has threads: a lock that another thread holds stays locked in the
child.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

NOBODY: Final = 65534
"""The user and group id that owns no files."""
LAST_FD: Final = 2**31 - 1
"""Upper bound of all descriptors, whatever the limits are."""
_PR_SET_PDEATHSIG: Final = 1
_PR_GET_PDEATHSIG: Final = 2
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_GET_NO_NEW_PRIVS: Final = 39
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAPABILITY_WORDS: Final = 6


class NotConfined(OSError):
    """A right could not be given up; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a process gives up.

    In any case: all capabilities, new privileges by exec, and surviving its parent.

    Attributes:
        user: the user and group id that it takes if it is root; None keeps them.
        limits: the soft and hard limit of each resource (RLIMIT_*).
        network: whether it keeps the network. Without it, it moves into an empty network namespace
            where the kernel allows that.
        traceable: whether processes of the same user may attach to it or read its memory.
    """

    user: int | None = None
    limits: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    network: bool = True
    traceable: bool = True


@dataclass(frozen=True, slots=True)
class Child:
    """A child process."""

    pid: int

    def stop(self) -> None:
        """Kill the child and wait for its exit."""
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def spawn(body: Callable[[], None]) -> Child:
    """Run ``body`` in a child process, which the kernel kills when its parent exits.

    The exit status is 0 if ``body`` returns and 1 if it raises. Exit handlers and buffers of the
    parent are not run in the child. ``body`` calls `confine`.
    """
    # Otherwise the child would write buffered output a second time.
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _run_child(body, parent)
    return Child(pid)


def confine(confinement: Confinement) -> None:
    """Give up the rights of this process, and read back that they are gone.

    Raises:
        OSError: a right cannot be given up; `NotConfined` if it remains afterwards.
        SystemExit: the parent exited meanwhile.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if not confinement.network and libc.unshare(_CLONE_NEWNET):
        # Without privileges a user namespace is needed. A kernel may refuse both; none of our
        # children is given a socket, so that is no error.
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    for kind, limit in confinement.limits.items():
        resource.setrlimit(kind, limit)
    user = confinement.user
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _drop_capabilities()
    if not confinement.traceable:
        _prctl(_PR_SET_DUMPABLE, 0)
    # Changing the user clears it, and the parent may exit before it is set again.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    check_confined(confinement)
    if os.getppid() != parent:
        raise SystemExit


def keep_descriptors(kept: Sequence[int]) -> None:
    """Close every descriptor except ``kept``."""
    first = 0
    for fd in sorted(kept):
        # Python 3.11 closes every descriptor for an empty range that starts at 0.
        if first < fd:
            os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, LAST_FD)


def _run_child(body: Callable[[], None], parent: int) -> NoReturn:
    status = 1
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have exited before the signal was requested.
        if os.getppid() == parent:
            body()
            status = 0
    finally:
        # Not sys.exit: the exit handlers inherited from the parent must not run here.
        os._exit(status)


def check_confined(confinement: Confinement) -> None:
    """Read back each right that was given up.

    Raises:
        NotConfined: one of them remains.
    """
    user = confinement.user
    if user is not None and {*os.getresuid(), *os.getresgid(), *os.getgroups()} != {user}:
        raise NotConfined("the user or group ids are kept")
    for kind, limit in confinement.limits.items():
        if resource.getrlimit(kind) != limit:
            raise NotConfined(f"resource limit {kind} is not set")
    if _prctl(_PR_GET_NO_NEW_PRIVS) != 1:
        raise NotConfined("no_new_privs is not set")
    if any(_capabilities()):
        raise NotConfined("capabilities are kept")
    if not confinement.traceable and _prctl(_PR_GET_DUMPABLE) != 0:
        raise NotConfined("it can be traced")
    number = ctypes.c_int()
    _prctl(_PR_GET_PDEATHSIG, ctypes.addressof(number))
    if number.value != signal.SIGKILL:
        raise NotConfined("it would outlive its parent")


def _drop_capabilities() -> None:
    # A kernel without ambient capabilities (before 4.3) has none to clear.
    with suppress(OSError):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(_capability_header(), (ctypes.c_uint32 * _CAPABILITY_WORDS)()):
        raise OSError(ctypes.get_errno(), "capset")


def _capabilities() -> list[int]:
    """Return the effective, permitted and inheritable capabilities of this process."""
    words = (ctypes.c_uint32 * _CAPABILITY_WORDS)()
    if ctypes.CDLL(None, use_errno=True).capget(_capability_header(), words):
        raise OSError(ctypes.get_errno(), "capget")
    return list(words)


def _capability_header() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)


def _prctl(option: int, value: int = 0) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    none = ctypes.c_ulong(0)
    found: int = libc.prctl(option, ctypes.c_ulong(value), none, none, none)
    if found < 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return found
