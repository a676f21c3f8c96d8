"""One process without rights that does one thing, and a parent that believes nothing it says.

The parent holds the clock and counts the output; the kernel counts processor time and memory.
However the child ends, that is an answer and never an exception.
"""

from __future__ import annotations

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

from phase_boot.sandbox.process import Confinement, confine, keep_descriptors, spawn

REPORT: Final = 3
"""The descriptor on which the child reports."""
MAX_REPORT: Final = 4096
"""Bytes that a child may report."""
_HIGH: Final = 64
_CHUNK: Final = 65536
_FEW: Final = 64
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


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


def run_sandboxed(body: Callable[[int], None], limits: Limits) -> Result:
    """Run ``body`` in a child on these limits; it is given the descriptor to report on.

    It is a fork, so there should be no other threads: what they hold stays held in the child.

    Raises:
        OSError: this machine has no process or descriptor left.
    """
    with ExitStack() as ours:
        reads, theirs = _ends(limits.stdin, ours)
        started = time.monotonic()
        pid = spawn(lambda: _run_child(body, limits, theirs)).pid
        try:
            for fd in theirs:
                os.close(fd)
            with os.fdopen(os.pidfd_open(pid)) as alive:
                deadline = started + limits.wall_ms / 1e3
                ended = _watch(pid, alive.fileno(), reads, limits, deadline)
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


def _watch(pid: int, alive: int, reads: list[int], limits: Limits, deadline: float) -> Result:
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
            if not _drain(fd, kept[fd], ended, limits.output_bytes, last=not running) and running:
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


def _run_child(body: Callable[[int], None], limits: Limits, fds: Sequence[int]) -> None:
    """Confine this process and run ``body``, or report why it cannot be confined."""
    _arrange(fds)
    try:
        # A session of its own, so that what it starts can be killed with it.
        os.setsid()
        os.chdir("/")
        confine(_confinement(limits))
    except (OSError, ValueError) as error:
        os.write(REPORT, f'{{"unconfined": "{type(error).__name__}"}}'.encode())
    else:
        body(REPORT)


def _arrange(fds: Sequence[int]) -> None:
    """Make stdin, stdout, stderr and the report the only files that are open."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    keep_descriptors(range(REPORT + 1))


def _confinement(limits: Limits) -> Confinement:
    """Return what a job gives up: files, memory, processor time, processes and the network."""
    seconds = -(-limits.wall_ms // 1000) + 1
    memory = _data_now() + limits.memory_bytes
    resources = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (_FEW, _FEW),
        resource.RLIMIT_DATA: (memory, memory),
    }
    if limits.user is not None:
        # It counts per user.
        resources[resource.RLIMIT_NPROC] = (_FEW, _FEW)
    return Confinement(user=limits.user, limits=resources, network=False, traceable=False)


def _data_now() -> int:
    """Return the bytes of memory that we may write to and share with nobody."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * _PAGE
