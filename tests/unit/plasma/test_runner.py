"""Each job gets a receipt, and no job stops the next."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.plasma.engine import Run
from phase_boot.plasma.runner import (
    JobResult,
    Machine,
    Missing,
    module_in,
    rootfs_jobs,
    run_jobs,
    this_arch,
)
from phase_boot.trust.job import Job
from phase_boot.trust.receipt import Outcome, Output, read_receipt
from tests.support import wasm_modules as modules
from tests.support.receipts import MODULE, NODE, booted, job, job_table

NOW: Final = datetime(2025, 11, 20, tzinfo=UTC)
MACHINE: Final = Machine(signer=NODE, arch=Arch.AMD64, mode="local", booted=booted())
ENDED: Final = Run(
    outcome=Outcome.EXITED,
    exit=3,
    stdout=b"out",
    stderr=b"err",
    wall_us=1,
    cpu_us=2,
    memory_bytes=3,
    fuel=4,
)


class FakeEngine:
    """An engine that notes what it was asked."""

    def __init__(self, ended: Run | OSError = ENDED) -> None:
        self.asked: list[tuple[str, bytes, Mapping[str, str], int | None]] = []
        self._ended = ended

    def __call__(
        self, job: Job, module: bytes, environment: Mapping[str, str], *, user: int | None
    ) -> Run:
        self.asked.append((job.name, module, environment, user))
        if isinstance(self._ended, OSError):
            raise self._ended
        return self._ended


def ran(
    *jobs: Job,
    modules: Callable[[Job], bytes] = lambda _: MODULE,
    engine: FakeEngine | None = None,
    machine: Machine = MACHINE,
) -> list[JobResult]:
    running = run_jobs(jobs, modules, machine, engine=engine or FakeEngine(), now=lambda: NOW)
    return list(running)


def test_a_receipt_states_job_machine_and_outcome() -> None:
    (done,) = ran(job())
    assert read_receipt(done.raw) == done.receipt
    assert done.receipt.job == "hello"
    assert done.receipt.job_digest == job().digest
    assert done.receipt.module == Digest.of(MODULE)
    assert (done.receipt.arch, done.receipt.mode) == (Arch.AMD64, "local")
    assert (done.receipt.booted, done.receipt.started) == (booted(), NOW)
    assert (done.receipt.outcome, done.receipt.exit) == (Outcome.EXITED, 3)
    assert (done.receipt.wall_us, done.receipt.cpu_us) == (1, 2)
    assert (done.receipt.memory_bytes, done.receipt.fuel) == (3, 4)
    assert (done.receipt.stdout, done.receipt.stderr) == (Output.of(b"out"), Output.of(b"err"))
    assert (done.stdout, done.stderr) == (b"out", b"err")
    assert done.receipt.node == NODE.keyid
    assert done.receipt.runtime.startswith("wasmtime ")


def test_a_job_gets_node_architecture_and_version_as_its_only_environment() -> None:
    engine = FakeEngine()
    ran(job(), engine=engine)
    environment = {"PHASE_NODE": NODE.keyid, "PHASE_ARCH": "amd64", "PHASE_VERSION": "2025.11.12"}
    assert engine.asked == [("hello", MODULE, environment, None)]
    by_hand = Machine(signer=NODE, arch=Arch.ARM64, user=65534)
    (done,) = ran(job(), engine=engine, machine=by_hand)
    assert engine.asked[1][2:] == (
        environment | {"PHASE_ARCH": "arm64", "PHASE_VERSION": "none"},
        65534,
    )
    assert (done.receipt.booted, done.receipt.mode) == (None, "none")


def test_jobs_are_run_in_their_order_and_the_second_of_one_name_is_not() -> None:
    engine = FakeEngine()
    jobs = [job(name="b"), job(name="a"), job(name="b", fuel=1), job(name="c")]
    done = ran(*jobs, engine=engine)
    assert [name for name, *_ in engine.asked] == ["b", "a", "c"]
    assert [each.receipt.job for each in done] == ["b", "a", "b", "c"]
    assert [str(each.receipt.outcome) for each in done] == ["exited", "exited", "not-run", "exited"]
    assert done[2].receipt.reason == "an earlier job has the same name"
    assert done[2].receipt.job_digest == jobs[2].digest


def test_a_missing_module_gets_a_receipt_and_the_next_job_runs() -> None:
    def look(job: Job) -> bytes:
        if job.name == "gone":
            raise Missing("no source has \x1b[2J it")
        return MODULE

    engine = FakeEngine()
    gone, there = ran(job(name="gone"), job(name="there"), modules=look, engine=engine)
    assert (gone.receipt.outcome, gone.receipt.reason) == (
        Outcome.NOT_RUN,
        r"no source has \x1b[2J it",
    )
    assert there.receipt.outcome is Outcome.EXITED
    assert [name for name, *_ in engine.asked] == ["there"]


@pytest.mark.parametrize("module", [b"", MODULE + b"\0", b"x" * len(MODULE)])
def test_a_module_of_another_hash_or_size_is_never_run(module: bytes) -> None:
    engine = FakeEngine()
    (done,) = ran(job(), modules=lambda _: module, engine=engine)
    assert done.receipt.outcome is Outcome.UNUSABLE_MODULE
    assert done.receipt.reason == "its hash or size is not the job's"
    assert done.receipt.module == Digest.of(MODULE)
    assert engine.asked == []


def test_a_process_that_cannot_be_started_is_recorded_in_the_receipt() -> None:
    full = FakeEngine(OSError(errno.EAGAIN, "Resource temporarily unavailable"))
    first, second = ran(job(name="a"), job(name="b"), engine=full)
    for done in (first, second):
        assert done.receipt.outcome is Outcome.NOT_RUN
        assert done.receipt.reason.endswith(
            "could not start a process: Resource temporarily unavailable"
        )


def test_jobs_are_really_run() -> None:
    held = {
        Digest.of(module): module
        for module in (modules.exiting(7), modules.TRAPPING, modules.flooding(1))
    }
    jobs = [modules.job_of(module, name=f"n{n}") for n, module in enumerate(held.values())]
    machine = Machine(signer=NODE, arch=this_arch())
    done = list(run_jobs(jobs, lambda job: held[job.module], machine))
    assert [str(each.receipt.outcome) for each in done] == ["exited", "trapped", "too-much-output"]
    assert done[0].receipt.exit == 7
    assert done[2].receipt.stdout.size == 65536
    for each in done:
        assert read_receipt(each.raw) == each.receipt


def write(folder: Path, **files: Any) -> None:
    for name, table in files.items():
        (folder / f"{name}.json").write_text(json.dumps(table))


def test_the_jobs_of_a_rootfs_run_in_the_order_of_their_file_names(tmp_path: Path) -> None:
    write(tmp_path, b=job_table(name="first"), a=job_table(name="second"))
    (tmp_path / "README").write_text("no job")
    jobs, wrong = rootfs_jobs(tmp_path)
    assert [found.name for found in jobs] == ["second", "first"]
    assert wrong == []


def test_a_rootfs_without_jobs_has_none(tmp_path: Path) -> None:
    assert rootfs_jobs(tmp_path / "gone") == ([], [])
    file = tmp_path / "file"
    file.touch()
    jobs, wrong = rootfs_jobs(file)
    assert jobs == []
    assert wrong == [f"{file} cannot be read: Not a directory."]


def test_an_invalid_job_of_a_rootfs_is_reported_and_the_others_run(tmp_path: Path) -> None:
    write(tmp_path, a=job_table(fuel=0), c=job_table())
    (tmp_path / "b.json").mkdir()
    jobs, wrong = rootfs_jobs(tmp_path)
    assert [found.name for found in jobs] == ["hello"]
    assert wrong[0].startswith(f"{tmp_path}/a.json: The field job.fuel is not usable")
    assert wrong[0].endswith("[document.bad-field]")
    assert wrong[1].startswith(f"{tmp_path}/b.json cannot be read: ")


def test_a_rootfs_with_too_many_jobs_runs_the_first(tmp_path: Path) -> None:
    write(tmp_path, **{f"{n:02}": job_table(name=f"n{n}") for n in range(17)})
    jobs, wrong = rootfs_jobs(tmp_path)
    assert [found.name for found in jobs] == [f"n{n}" for n in range(16)]
    assert wrong == [f"{tmp_path} has more than 16 jobs; the others are not run."]


def test_no_more_of_a_module_is_read_than_its_job_names(tmp_path: Path) -> None:
    path = tmp_path / "module"
    path.write_bytes(MODULE * 1000)
    assert module_in(path, job()) == MODULE + MODULE[:1]
    with pytest.raises(Missing, match="gone cannot be read: No such file"):
        module_in(tmp_path / "gone", job())
    with pytest.raises(Missing, match="cannot be read: it is not a plain file"):
        module_in(tmp_path, job())
