"""The claims of a receipt, compared with the manifest that it names.

A signature proves which key made a claim, not that the claim is true. Every claim that the manifest
decides is compared with it. The others (times, sizes of output, the registers of the TPM) cannot be
checked.

Jobs may also come from the rootfs, which the manifest does not list: a job that the manifest does
not name is held to the limits of every job.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.trust import job as jobs
from phase_boot.trust.job import Job
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.receipt import NO_MODE, Outcome, Output, Receipt, check_booted
from phase_boot.trust.refusals import Refusal

LATE: Final = timedelta(hours=24)
"""A job may start this long after its manifest expired: the machine was booted before."""
OVERTIME_US: Final = 60_000_000
"""Microseconds that ending the process of a job may take on a slow machine."""
_MIB: Final = 2**20
_KIB: Final = 1024
_EMPTY: Final = Output.of(b"")


class ReceiptContradicted(Refusal):
    """A claim that the manifest, or another claim of the same receipt, contradicts."""

    code = "receipt.contradicted"
    sentence = (
        "The receipt claims {field} {found} and that cannot be ({reason}): do not count it, and "
        "check that machine."
    )


CLAIM_REFUSALS: Final[tuple[type[Refusal], ...]] = (ReceiptContradicted,)


def check_claims(receipt: Receipt, manifest: Manifest, digest: Digest) -> None:
    """Compare every claim of ``receipt`` with ``manifest``, which ``digest`` names.

    ``digest`` is that of the manifest's signed bytes. ``started`` is not compared with ``issued``:
    the clock of a machine without a battery is behind.

    Raises:
        ReceiptWrongManifest: the receipt names another manifest.
        ReceiptContradicted: a claim contradicts the manifest or another claim.
    """
    check_booted(receipt, manifest, digest)
    for field, found, reason in (
        *_boot_faults(receipt, manifest),
        *_outcome_faults(receipt),
        *_job_faults(receipt, manifest),
    ):
        raise ReceiptContradicted(field=field, found=found, reason=reason)


def check_same_node(receipt: Receipt, earlier: Receipt) -> None:
    """Compare a receipt with an earlier one that the same node key signed.

    A node key lies on the Cache partition of one stick, which boots one architecture.

    Raises:
        ReceiptContradicted: the key was copied, or the machine makes false claims.
    """
    if receipt.arch != earlier.arch:
        reason = f"its node key signed for {earlier.arch} before"
        raise ReceiptContradicted(field="arch", found=receipt.arch, reason=reason)


_Faults = Iterator[tuple[str, object, str]]
"""The field, its value, and why it is impossible."""


def _boot_faults(receipt: Receipt, manifest: Manifest) -> _Faults:
    if receipt.mode == NO_MODE:
        yield "mode", receipt.mode, "it names what was booted"
    if receipt.started > manifest.expires + LATE:
        yield "started", receipt.started, "its manifest had expired and is not booted any more"


def _outcome_faults(receipt: Receipt) -> _Faults:
    if receipt.outcome is Outcome.EXITED and receipt.reason:
        yield "reason", receipt.reason, "a job that exited has none"
    if receipt.outcome is Outcome.NOT_RUN:
        # Finding out that a job cannot run takes time too, so times are not compared.
        output = receipt.stdout.size + receipt.stderr.size
        if receipt.memory_bytes or receipt.fuel or output:
            yield "outcome", receipt.outcome, "it used memory or fuel, or wrote something"
    for field, stream in (("stdout", receipt.stdout), ("stderr", receipt.stderr)):
        if (stream.size == 0) != (stream.digest == _EMPTY.digest):
            yield field, stream.digest, f"it has {stream.size} bytes"


def _job_faults(receipt: Receipt, manifest: Manifest) -> _Faults:
    known = next((job for job in manifest.jobs if job.digest == receipt.job_digest), None)
    if known is not None:
        if receipt.job != known.name:
            yield "job", receipt.job, f"the manifest calls it {known.name}"
        if receipt.module != known.module:
            yield "module", receipt.module, f"the manifest names {known.module}"
    wall_ms, memory_mib, fuel, output_kib = _limits(known)
    output = receipt.stdout.size + receipt.stderr.size
    for field, found, most in (
        ("wall_us", receipt.wall_us, wall_ms * 1000 + OVERTIME_US),
        ("cpu_us", receipt.cpu_us, wall_ms * 1000 + OVERTIME_US),
        ("memory_bytes", receipt.memory_bytes, memory_mib * _MIB),
        ("fuel", receipt.fuel, fuel),
        ("stdout and stderr", output, output_kib * _KIB),
    ):
        if found > most:
            yield field, found, f"its job is limited to {most}"


def _limits(known: Job | None) -> tuple[int, int, int, int]:
    if known is None:
        return jobs.MAX_WALL_MS, jobs.MAX_MEMORY_MIB, jobs.MAX_FUEL, jobs.MAX_OUTPUT_KIB
    return known.wall_ms, known.memory_mib, known.fuel, known.output_kib
