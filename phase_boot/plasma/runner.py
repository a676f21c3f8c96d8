"""Running jobs in order, each with a signed receipt whatever its outcome."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.plasma.engine import Run, plain, run, runtime
from phase_boot.safefs.beneath import read_regular
from phase_boot.trust.job import MAX_JOBS, Job, read_job
from phase_boot.trust.receipt import (
    NO_MODE,
    Booted,
    Outcome,
    Output,
    Receipt,
    Signer,
    sign_receipt,
)
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES

JOBS: Final = Path("/usr/lib/plasma.d")
"""The folder of the rootfs with its jobs."""


class Missing(Exception):
    """No source has the module of a job; ``str`` is a short reason."""


class Engine(Protocol):
    """Interface of `engine.run`."""

    def __call__(
        self, job: Job, module: bytes, environment: Mapping[str, str], *, user: int | None
    ) -> Run:
        """Run the job; every end of the module is an outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts of the machine that a receipt states, and its signer."""

    signer: Signer
    arch: Arch
    mode: str = NO_MODE
    booted: Booted | None = None
    user: int | None = None
    """The user id that jobs take if this process is root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """The receipt of a job, and its output."""

    receipt: Receipt
    raw: bytes
    """The encoded receipt."""
    stdout: bytes
    stderr: bytes


def this_arch() -> Arch:
    """Return the architecture of this machine.

    Raises:
        ValueError: it is not supported.
    """
    return Arch.parse(platform.machine())


def run_jobs(
    jobs: Iterable[Job],
    modules: Callable[[Job], bytes],
    machine: Machine,
    *,
    engine: Engine = run,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[JobResult]:
    """Run ``jobs`` one after another and yield the result of each.

    ``modules`` returns the bytes of a job's module or raises Missing; they are checked here. There
    must be no other threads (`job_process.run_sandboxed`).

    Raises:
        PlasmaError: the signing agent has exited, so no receipt can be signed.
    """
    names: set[str] = set()
    for job in jobs:
        started = now().replace(microsecond=0)
        if job.name in names:
            result = _not_run("an earlier job has the same name")
        else:
            result = _attempt(job, modules, machine, engine)
        names.add(job.name)
        receipt = _receipt(job, result, machine, started)
        raw = sign_receipt(machine.signer, receipt)
        yield JobResult(receipt=receipt, raw=raw, stdout=result.stdout, stderr=result.stderr)


def rootfs_jobs(folder: Path = JOBS) -> tuple[list[Job], list[str]]:
    """Return the jobs in ``folder`` in file name order, and the errors of invalid ones."""
    jobs: list[Job] = []
    wrong: list[str] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{folder} cannot be read: {error.strerror}."]
    for path in paths[:MAX_JOBS]:
        try:
            jobs.append(read_job(read_regular(path, MAX_BYTES)))
        except OSError as error:
            wrong.append(f"{path} cannot be read: {error.strerror}.")
        except Refusal as refusal:
            wrong.append(f"{path}: {refusal} [{refusal.code}]")
    if len(paths) > MAX_JOBS:
        wrong.append(f"{folder} has more than {MAX_JOBS} jobs; the others are not run.")
    return jobs, wrong


def module_in(path: Path, job: Job) -> bytes:
    """Return the bytes of a module file, at most one more than the job states.

    Raises:
        Missing: it cannot be read.
    """
    try:
        return read_regular(path, job.size)
    except OSError as error:
        raise Missing(f"its module {path} cannot be read: {error.strerror}") from None


def _attempt(
    job: Job,
    modules: Callable[[Job], bytes],
    machine: Machine,
    engine: Engine,
) -> Run:
    try:
        module = modules(job)
    except Missing as missing:
        return _not_run(str(missing))
    if len(module) != job.size or Digest.of(module) != job.module:
        return Run(
            outcome=Outcome.UNUSABLE_MODULE,
            reason="its hash or size is not the job's",
        )
    try:
        return engine(job, module, _environment(machine), user=machine.user)
    except OSError as error:
        return _not_run(f"this machine could not start a process: {error.strerror}")


def _not_run(reason: str) -> Run:
    return Run(outcome=Outcome.NOT_RUN, reason=plain(reason))


def _environment(machine: Machine) -> dict[str, str]:
    """Return the environment variables of a job."""
    version = "none" if machine.booted is None else str(machine.booted.version)
    return {
        "PHASE_NODE": machine.signer.keyid,
        "PHASE_ARCH": str(machine.arch),
        "PHASE_VERSION": version,
    }


def _receipt(job: Job, result: Run, machine: Machine, started: datetime) -> Receipt:
    return Receipt(
        job=job.name,
        job_digest=job.digest,
        module=job.module,
        runtime=runtime(),
        arch=machine.arch,
        mode=machine.mode,
        booted=machine.booted,
        started=started,
        wall_us=result.wall_us,
        cpu_us=result.cpu_us,
        memory_bytes=result.memory_bytes,
        fuel=result.fuel,
        outcome=result.outcome,
        exit=result.exit,
        reason=result.reason,
        stdout=Output.of(result.stdout),
        stderr=Output.of(result.stderr),
        node=machine.signer.keyid,
    )
