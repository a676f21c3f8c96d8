"""The sandbox of a job: the rights and resources that its process has."""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from phase_boot.plasma.job_process import (
    MAX_REPORT,
    REPORT,
    KillReason,
    Limits,
    Result,
    run_sandboxed,
)
from phase_boot.sandbox.process import NOBODY
from tests.support.descriptors import open_descriptors

AS_ROOT = os.geteuid() == 0


def terms(**changes: Any) -> Limits:
    fields: dict[str, Any] = {
        "stdin": b"",
        "wall_ms": 20_000,
        "output_bytes": 1000,
        "memory_bytes": 64 * 2**20,
        "user": NOBODY if AS_ROOT else None,
    }
    return Limits(**fields | changes)


def result_of(look: Callable[[], object], **changes: Any) -> Any:
    """Return what ``look`` sees in the cage."""
    ended = run_sandboxed(lambda report: _say(report, look()), terms(**changes))
    assert (ended.killed, ended.signal) == (None, 0)
    return json.loads(ended.report)


def _say(report: int, fact: object) -> None:
    os.write(report, json.dumps(fact).encode())


def open_files() -> list[int]:
    return sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())


def test_a_job_process_has_four_open_files() -> None:
    with socket.socket() as one, Path(__file__).open() as another:
        for file in (one, another):
            os.set_inheritable(file.fileno(), True)  # noqa: FBT003 - it takes it by place only
        # The one more is the folder that is being listed.
        assert result_of(open_files) == [0, 1, 2, REPORT, REPORT + 1]


def status_of(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def test_a_job_process_has_no_capabilities_and_gets_none() -> None:
    assert result_of(lambda: status_of("NoNewPrivs")) == "1"
    if AS_ROOT:
        for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(result_of(partial(status_of, kind)), 16) == 0
        assert result_of(lambda: [*os.getresuid(), *os.getresgid()]) == [NOBODY] * 6
        assert result_of(os.getgroups) == []


@pytest.mark.skipif(not AS_ROOT, reason="only root gives a right away that it has")
def test_a_job_process_cannot_read_files_of_root(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    assert result_of(lambda: os.access(secret, os.R_OK)) is False


def networks() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


@pytest.mark.skipif(not AS_ROOT, reason="who is not root may lack network namespaces")
def test_a_job_process_has_no_network() -> None:
    assert result_of(networks) == ["lo"]


def test_a_job_process_creates_no_files(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    def write() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            (tmp_path / "made").write_text("x")
        except OSError as error:
            return type(error).__name__
        return "written"

    assert result_of(write) != "written"


def test_a_job_process_has_no_more_memory_than_its_limit() -> None:
    def take() -> bool:
        try:
            # Not of what this process has had before and was given back.
            mmap.mmap(-1, 80 * 2**20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            return False
        return True

    assert result_of(take) is False
    assert result_of(take, memory_bytes=128 * 2**20) is True


def test_a_job_process_reads_its_stdin_and_cannot_change_it() -> None:
    def read() -> list[str]:
        text = os.read(0, 100).decode()
        try:
            os.write(0, b"more")
        except OSError as error:
            return [text, type(error).__name__]
        return [text]

    assert result_of(read, stdin=b"given") == ["given", "OSError"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_child_killed_by_a_signal_has_a_result(number: signal.Signals) -> None:
    ended = run_sandboxed(lambda _: os.kill(os.getpid(), number), terms())
    assert (ended.signal, ended.killed, bytes(ended.report)) == (number.value, None, b"")


def test_a_child_that_raises_reports_nothing() -> None:
    def fail(_: int) -> None:
        raise ValueError

    ended = run_sandboxed(fail, terms())
    assert (ended.signal, ended.killed, bytes(ended.report)) == (0, None, b"")


def test_a_child_that_closes_everything_and_sleeps_is_ended() -> None:
    def hide(_: int) -> None:
        os.closerange(0, REPORT + 1)
        time.sleep(60)

    assert run_sandboxed(hide, terms(wall_ms=300)).killed is KillReason.TIME


def test_processes_of_a_child_end_with_it() -> None:
    def leave(report: int) -> None:
        pid = os.fork()
        if not pid:
            time.sleep(60)
        os.write(report, str(pid).encode())

    pid = int(run_sandboxed(leave, terms()).report)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        # Another process is its parent now, and may reap it a moment later.
        if "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_that_reports_without_end_is_ended() -> None:
    def talk(report: int) -> None:
        while True:
            os.write(report, b"x" * 1000)

    ended = run_sandboxed(talk, terms())
    assert ended.killed is KillReason.REPORT
    assert len(ended.report) < MAX_REPORT + 2**17


def test_output_is_counted_on_both_streams_together() -> None:
    def write(_: int) -> None:
        os.write(1, b"a" * 600)
        time.sleep(0.2)
        os.write(2, b"b" * 600)
        time.sleep(60)

    ended = run_sandboxed(write, terms())
    assert ended.killed is KillReason.OUTPUT
    assert (len(ended.stdout), len(ended.stderr)) == (600, 400)


def test_output_written_just_before_exit_is_kept() -> None:
    def write(report: int) -> None:
        os.write(1, b"a" * 900)
        os.write(report, b"{}")

    for _ in range(20):
        ended = run_sandboxed(write, terms())
        assert (len(ended.stdout), bytes(ended.report), ended.killed) == (900, b"{}", None)


def test_no_process_and_no_file_is_left() -> None:
    before = open_descriptors()
    for _ in range(3):
        run_sandboxed(lambda _: None, terms())
    assert open_descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("left", [0, 1, 3, 5])
def test_a_machine_without_descriptors_is_an_error_and_keeps_none(left: int) -> None:
    before, limits = open_descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(before)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + left, limits[1]))
    holes = [fd for fd in range(highest) if fd not in before]
    try:
        taken = [os.open(os.devnull, os.O_RDONLY) for _ in holes]
        with pytest.raises(OSError, match="Too many open files"):
            run_sandboxed(lambda _: None, terms())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)
    assert open_descriptors() == before


def test_a_result_has_wall_and_cpu_time() -> None:
    ended: Result = run_sandboxed(lambda _: time.sleep(0.01), terms())
    assert ended.wall_us >= 10_000
    assert 0 < ended.cpu_us < ended.wall_us + 10_000_000
