"""One process without rights that does one thing, and a parent that believes nothing it says.

The parent holds the clock and counts the output; the kernel counts processor time and memory.
However the child ends, that is an answer and never an exception.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from enum import Enum, unique
from pathlib import Path
from typing import Final

REPORT: Final = 3
"""The descriptor on which the child reports."""
NOBODY: Final = 65534
MAX_REPORT: Final = 4096
"""Bytes that a child may report."""
LAST_FD: Final = 2**31 - 1
"""No descriptor is higher, whatever limits are set; the kernel closes such a range at once."""
_HIGH: Final = 64
_CHUNK: Final = 65536
_FEW: Final = 64
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child is given, and what it may use up."""

    stdin: bytes
    wall_ms: int
    output_bytes: int
    """On stdout and stderr together."""
    memory_bytes: int
    """Beyond what it has when it starts."""
    user: int | None
    """Whom it becomes, where we are root; None stays who we are."""


@unique
class KillReason(Enum):
    """Why the parent ended the child."""

    TIME = "time"
    OUTPUT = "output"
    REPORT = "report"
    """It reported more than anybody asked for."""


@dataclass(slots=True)
class Result:
    """What is left of a child. Its report is as distrusted as its output."""

    report: bytearray = field(default_factory=bytearray)
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    killed: KillReason | None = None
    signal: int = 0
    """Which one ended it, where one did."""
    wall_us: int = 0
    cpu_us: int = 0


def run_sandboxed(body: Callable[[int], None], terms: Limits) -> Result:
    """Run ``body`` in a child on these terms; it is given the descriptor to report on.

    It is a fork, so there should be no other threads: what they hold stays held in the child.

    Raises:
        OSError: this machine has no process or descriptor left.
    """
    with ExitStack() as ours:
        reads, theirs = _ends(terms.stdin, ours)
        parent, started = os.getpid(), time.monotonic()
        pid = os.fork()
        if not pid:
            _be_child(body, terms, theirs, parent)
        try:
            for fd in theirs:
                os.close(fd)
            with os.fdopen(os.pidfd_open(pid)) as alive:
                deadline = started + terms.wall_ms / 1e3
                ended = _watch(pid, alive.fileno(), reads, terms, deadline)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
    ended.wall_us = round((time.monotonic() - started) * 1e6)
    ended.cpu_us = round((used.ru_utime + used.ru_stime) * 1e6)
    ended.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return ended


def _ends(stdin: bytes, ours: ExitStack) -> tuple[list[int], list[int]]:
    """Return what we read from, which ``ours`` closes, and what the child has as 0 to 3."""
    with ExitStack() as undone:
        reads, theirs = [], [_sealed(stdin)]
        undone.callback(os.close, theirs[0])
        for _ in range(REPORT):
            read, write = os.pipe2(os.O_CLOEXEC)
            undone.callback(os.close, read)
            undone.callback(os.close, write)
            reads.append(read)
            theirs.append(write)
        undone.pop_all()
    for read in reads:
        ours.callback(os.close, read)
    return reads, theirs


def _sealed(data: bytes) -> int:
    """Return a descriptor at the start of ``data`` that nobody can write to."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _watch(pid: int, alive: int, reads: list[int], terms: Limits, deadline: float) -> Result:
    """Read until the child has ended, and end it where it goes too far."""
    ended = Result()
    kept = dict(zip(reads, (ended.stdout, ended.stderr, ended.report), strict=True))
    poll = select.poll()
    for fd in (alive, *reads):
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    running = True
    while running and ended.killed is None:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            ended.killed = KillReason.TIME
        running = alive not in (fd for fd, _ in ready)
        # What the child wrote before it ended is in the pipes still.
        for fd in kept if not running else [fd for fd, _ in ready if fd != alive]:
            if not _drain(fd, kept[fd], ended, terms.output_bytes, last=not running) and running:
                poll.unregister(fd)
    with suppress(ProcessLookupError):
        # Whoever it may have started is in its group, and holds the pipes open.
        os.killpg(pid, signal.SIGKILL)
    return ended


def _drain(fd: int, kept: bytearray, ended: Result, limit: int, *, last: bool) -> bool:
    """Keep what there is to read, and say whether more may come."""
    while ended.killed is None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        kept += data
        if len(ended.stdout) + len(ended.stderr) > limit:
            del kept[max(0, len(kept) - (len(ended.stdout) + len(ended.stderr) - limit)) :]
            ended.killed = KillReason.OUTPUT
        elif len(ended.report) > MAX_REPORT:
            ended.killed = KillReason.REPORT
        if not last:
            return True
    return True


def _be_child(body: Callable[[int], None], terms: Limits, fds: Sequence[int], parent: int) -> None:
    """Do it and end: nothing of what the parent wanted done at its end is ours to do."""
    status = 1
    try:
        _arrange(fds)
        try:
            _confine(terms, parent)
        except (OSError, ValueError) as error:
            os.write(REPORT, f'{{"unconfined": "{type(error).__name__}"}}'.encode())
        else:
            body(REPORT)
        status = 0
    finally:
        os._exit(status)


def _arrange(fds: Sequence[int]) -> None:
    """Make stdin, stdout, stderr and the report the only files that are open."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.closerange(REPORT + 1, LAST_FD)


def _confine(terms: Limits, parent: int) -> None:
    """Give up every right; whatever cannot be given up is an error."""
    os.setsid()
    libc = ctypes.CDLL(None, use_errno=True)
    # No network of the host: as root at once, else in a user namespace where the kernel allows it.
    # A WASI module has no socket to call anyway, so that this is missing ends nothing.
    if libc.unshare(_CLONE_NEWNET):
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    os.chdir("/")
    seconds = -(-terms.wall_ms // 1000) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW, _FEW))
    most = _data_now() + terms.memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    if terms.user is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (_FEW, _FEW))
        os.setgroups([])
        os.setresgid(terms.user, terms.user, terms.user)
        os.setresuid(terms.user, terms.user, terms.user)
    for option, value in (
        (_PR_SET_NO_NEW_PRIVS, 1),
        (_PR_SET_DUMPABLE, 0),
        # After the change of user, which clears it.
        (_PR_SET_PDEATHSIG, signal.SIGKILL),
    ):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:
        raise SystemExit


def _data_now() -> int:
    """Return the bytes of memory that we may write to and share with nobody."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * _PAGE
