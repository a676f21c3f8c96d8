"""`plasma run`: read a job, run it, print its outcome and store its receipt."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from phase_boot.console.lines import printable
from phase_boot.plasma.errors import PlasmaError
from phase_boot.plasma.node_key import ephemeral, load_or_create, signing_agent
from phase_boot.plasma.receipt_commands import summary
from phase_boot.plasma.receipt_folder import ReceiptFolder
from phase_boot.plasma.runner import JobResult, Machine, module_in, run_jobs, this_arch
from phase_boot.safefs.beneath import read_regular
from phase_boot.sandbox.process import NOBODY
from phase_boot.store.layout import entry_path
from phase_boot.trust.job import Job, read_job
from phase_boot.trust.receipt import Outcome, Signer
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES

FAILED: Final = 3
"""Exit status of the command if the job did not exit with 0."""


def run(options: argparse.Namespace) -> int:
    """Run one job and print its output and its receipt."""
    job = _read(options.job)
    node: Path | None = options.node
    with signing_agent(ephemeral if node is None else lambda: load_or_create(node)) as agent:
        if agent.note:
            sys.stderr.write(f"{printable(agent.note)}\n")
        result = _run_job(job, options, agent)
    for line in render_result(result):
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{_store_receipt(result, options.receipts)}\n")
    return 0 if (result.receipt.outcome, result.receipt.exit) == (Outcome.EXITED, 0) else FAILED


def render_result(result: JobResult) -> list[str]:
    """Return a readable summary of a job: its output, escaped, and its outcome."""
    lines = [f"| {printable(line)}" for line in _lines(result.stdout)]
    lines += [f"! {printable(line)}" for line in _lines(result.stderr)]
    return [*lines, *summary(result.receipt)]


def _store_receipt(result: JobResult, folder: Path | None) -> str:
    """Store the receipt and return its path; without a folder, return the receipt.

    Raises:
        PlasmaError: the receipt cannot be stored; it is printed instead, so that it is not lost.
    """
    raw = result.raw.decode("utf-8")
    if folder is None:
        return raw
    try:
        return f"stored in {printable(ReceiptFolder(folder).add(result.raw))}"
    except PlasmaError as error:
        sys.stdout.write(f"{raw}\n")
        raise PlasmaError(f"{str(error).removesuffix('.')}: it was printed instead.") from error


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n") if data else []


def _run_job(job: Job, options: argparse.Namespace, signer: Signer) -> JobResult:
    path: Path = options.module or options.store / entry_path(job.module)
    try:
        arch = this_arch()
    except ValueError:
        raise PlasmaError("Jobs run on amd64 and arm64 only: use such a machine.") from None
    user = NOBODY if os.geteuid() == 0 else None
    machine = Machine(signer=signer, arch=arch, user=user)
    (result,) = run_jobs([job], lambda job: module_in(path, job), machine)
    return result


def _read(path: Path) -> Job:
    try:
        return read_job(read_regular(path, MAX_BYTES))
    except OSError as error:
        raise PlasmaError(f"{path} cannot be read: {error.strerror}.") from error
    except Refusal as refusal:
        raise PlasmaError(f"{path}: {refusal} [{refusal.code}]") from None
