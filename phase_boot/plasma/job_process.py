"""Running a function in a confined process with resource limits.

The parent enforces wall time and output size, the kernel CPU time and memory. The child is
untrusted: its report is bounded and never parsed here. Every end of the child is a `Result`.
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
    """Input and resource limits of a child."""

    stdin: bytes
    wall_ms: int
    output_bytes: int
    """On stdout and stderr together."""
    memory_bytes: int
    """In addition to the memory of the process at its start."""
    user: int | None
    """The user and group id of the child if this process is root; None keeps them."""


@unique
class KillReason(Enum):
    """Why the parent killed the child."""

    TIME = "time"
    OUTPUT = "output"
    REPORT = "report"
    """Its report exceeded MAX_REPORT."""


@dataclass(slots=True)
class Result:
    """The outcome of a child. Its report is as untrusted as its output."""

    report: bytearray = field(default_factory=bytearray)
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    killed: KillReason | None = None
    signal: int = 0
    """The signal that result it, or 0."""
    wall_us: int = 0
    cpu_us: int = 0


def run_sandboxed(body: Callable[[int], None], limits: Limits) -> Result:
    """Run ``body`` in a child under these limits, with the descriptor of its report.

    The child is a fork: a lock that another thread holds stays locked in it, so there must be no
    other threads.

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
                result = _watch(pid, alive.fileno(), reads, limits, deadline)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
    result.wall_us = round((time.monotonic() - started) * 1e6)
    result.cpu_us = round((used.ru_utime + used.ru_stime) * 1e6)
    result.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return result


def _ends(stdin: bytes, ours: ExitStack) -> tuple[list[int], list[int]]:
    """Return the read ends, which ``ours`` closes, and descriptors 0 to 3 of the child."""
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
    """Return a read-only, sealed memory file of ``data``."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _watch(pid: int, alive: int, reads: list[int], limits: Limits, deadline: float) -> Result:
    """Read until the child exits, and kill it if it exceeds a limit."""
    result = Result()
    kept = dict(zip(reads, (result.stdout, result.stderr, result.report), strict=True))
    poll = select.poll()
    for fd in (alive, *reads):
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    running = True
    while running and result.killed is None:
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        if not ready:
            result.killed = KillReason.TIME
        running = alive not in (fd for fd, _ in ready)
        # Output written before the exit is still in the pipes.
        for fd in kept if not running else [fd for fd, _ in ready if fd != alive]:
            if not _drain(fd, kept[fd], result, limits.output_bytes, last=not running) and running:
                poll.unregister(fd)
    with suppress(ProcessLookupError):
        # Its own child processes are in its group and hold the pipes open.
        os.killpg(pid, signal.SIGKILL)
    return result


def _drain(fd: int, kept: bytearray, result: Result, limit: int, *, last: bool) -> bool:
    """Store the available output; return whether more may follow."""
    while result.killed is None:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        kept += data
        if len(result.stdout) + len(result.stderr) > limit:
            del kept[max(0, len(kept) - (len(result.stdout) + len(result.stderr) - limit)) :]
            result.killed = KillReason.OUTPUT
        elif len(result.report) > MAX_REPORT:
            result.killed = KillReason.REPORT
        if not last:
            return True
    return True


def _run_child(body: Callable[[int], None], limits: Limits, fds: Sequence[int]) -> None:
    """Confine this process and run ``body``, or report why it cannot be confined."""
    _arrange(fds)
    try:
        # Its own session, so that its child processes are killed with it.
        os.setsid()
        os.chdir("/")
        confine(_confinement(limits))
    except (OSError, ValueError) as error:
        os.write(REPORT, f'{{"unconfined": "{type(error).__name__}"}}'.encode())
    else:
        body(REPORT)


def _arrange(fds: Sequence[int]) -> None:
    """Close all descriptors except stdin, stdout, stderr and the report."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    keep_descriptors(range(REPORT + 1))


def _confinement(limits: Limits) -> Confinement:
    """Return the rights that a job gives up: files, memory, CPU time, processes and the network."""
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
        # RLIMIT_NPROC counts per user.
        resources[resource.RLIMIT_NPROC] = (_FEW, _FEW)
    return Confinement(user=limits.user, limits=resources, network=False, traceable=False)


def _data_now() -> int:
    """Return the bytes of private writable memory of this process (RLIMIT_DATA)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * _PAGE
