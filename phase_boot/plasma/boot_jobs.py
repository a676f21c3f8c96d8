"""Run the jobs of the booted system: sign a receipt for each, store it and upload it.

No failure here may fail the boot, so each one becomes an event.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import random
from typing import Final

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.adapters.system.tpm import pcrs
from phase_boot.content.digest import Digest
from phase_boot.handoff.cmdline import MAX_READ, parse
from phase_boot.handoff.document import MAX_BYTES
from phase_boot.journal.event import Event
from phase_boot.machine.backoff import Backoff
from phase_boot.plasma.boot_record import BootRecord, InvalidHandoff
from phase_boot.plasma.errors import PlasmaError
from phase_boot.plasma.event_output import EventWriter, devices
from phase_boot.plasma.events import (
    JobsDone,
    NodeIdentified,
    ProblemFound,
    ReceiptSigned,
    ReceiptsUploaded,
)
from phase_boot.plasma.module_source import ModuleSource, policy_of
from phase_boot.plasma.node_key import (
    NodeKey,
    SigningAgent,
    ephemeral,
    load_or_create,
    signing_agent,
)
from phase_boot.plasma.receipt_folder import ReceiptFolder
from phase_boot.plasma.runner import JobResult, Machine, rootfs_jobs, run_jobs
from phase_boot.ports.receipt_upload import ReceiptUploader, UploadFailed
from phase_boot.publish.errors import PublishError
from phase_boot.safefs.beneath import read_regular
from phase_boot.sandbox.process import NOBODY
from phase_boot.store.content_store import ContentStore
from policies.model import Reach

MIB: Final = 2**20
MODULES_MIB: Final = 64
"""Size limit of the downloaded modules."""
ATTEMPTS: Final = 5
BACKOFF: Final = Backoff(first=2, longest=30)
"""Pauses between upload attempts: the network may not have an address yet."""
MAX_ROOTFS: Final = 128
"""Bytes read of the file with the digest of the rootfs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Paths of the booted system.

    Attributes:
        handoff: the folder with the hand-over document and the digest of the rootfs.
        jobs: the jobs of the rootfs, and a store of their modules.
        cache: the mount point of Cache, with the store of the seed.
        data: the folder of keys, receipts and downloads, on Cache or in memory.
        root: the parent of /proc and /sys.
    """

    handoff: Path = Path("/run/phase")
    jobs: Path = Path("/usr/lib/plasma.d")
    cache: Path = Path("/run/phase/cache")
    data: Path = Path("/var/lib/plasma")
    root: Path = Path("/")


def _http_uploader(proxy: str) -> ReceiptUploader:
    from phase_boot.adapters.http.receipt_upload import HttpReceiptUploader  # noqa: PLC0415 - slow to import

    return HttpReceiptUploader(proxy=proxy)


def _same_disk(one: Path, other: Path) -> bool:
    """Return whether both exist on one filesystem."""
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """The side effects of this module, replaceable in tests."""

    emit: Callable[[Event], None]
    uploader: Callable[[str], ReceiptUploader] = _http_uploader
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random
    same_disk: Callable[[Path, Path], bool] = _same_disk


def main(_options: object = None) -> int:
    """Run the jobs as the target's unit does, and return the exit status."""
    output = EventWriter(devices(), lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    status = boot(Paths(), Effects(emit=output.emit))
    output.drain()
    return status


def boot(paths: Paths, effects: Effects) -> int:
    """Run every job and return 0 if all of them exited with 0."""
    try:
        record = _read_record(paths)
        results, keyid = _run_all(paths, record, effects)
    except (InvalidHandoff, PublishError) as error:
        _problem(effects, str(error))
        return 1
    _upload_receipts(record, results, effects)
    good = all(each.receipt.exit == 0 for each in results)
    effects.emit(JobsDone(jobs=len(results), node=keyid))
    return 0 if good else 1


def _read_record(paths: Paths) -> BootRecord:
    try:
        raw = read_regular(paths.handoff / "handoff.json", MAX_BYTES)
        rootfs = read_regular(paths.handoff / "rootfs.sha256", MAX_ROOTFS)
        record = BootRecord.of(raw, Digest.parse(rootfs.decode("ascii").strip()))
        cmdline = read_regular(paths.root / "proc/cmdline", MAX_READ).decode("latin-1")
    except (OSError, ValueError) as error:
        raise InvalidHandoff(
            f"The hand-over document cannot be read ({error}): boot this machine from its stick."
        ) from error
    _check_cmdline(record, cmdline)
    return record


def _check_cmdline(record: BootRecord, cmdline: str) -> None:
    """Compare the hand-over document with the kernel's command line of the same boot.

    An image that the firmware starts directly has its own command line, without these parameters.

    Raises:
        InvalidHandoff: they differ, so neither is trusted.
    """
    stated = {word.name: word.value for word in parse(cmdline).parameters}
    for name, found in (
        ("phase.mode", record.mode),
        ("phase.version", record.manifest.version),
        ("phase.rootfs", record.manifest.artifacts["rootfs"].digest),
    ):
        if stated.get(name, str(found)) != str(found):
            raise InvalidHandoff(
                f"The hand-over document says {name}={found} and the kernel's command line "
                f"{name}={stated[name]}: boot this machine from its stick."
            )


def _run_all(paths: Paths, record: BootRecord, effects: Effects) -> tuple[list[JobResult], str]:
    """Run the jobs of the rootfs, then those of the manifest; emit and store each receipt."""
    found, wrong = rootfs_jobs(paths.jobs)
    for sentence in wrong:
        _problem(effects, sentence)
    persistent = not record.private and effects.same_disk(paths.data, paths.cache)
    modules = _module_source(paths, record)
    folder = ReceiptFolder(paths.data / "receipts") if persistent else None
    results = []
    with _start_agent(paths, effects, persistent=persistent) as agent:
        machine = Machine(
            signer=agent,
            arch=record.arch,
            mode=record.mode,
            booted=record.booted(pcrs(paths.root)),
            user=NOBODY if os.geteuid() == 0 else None,
        )
        for each in run_jobs((*found, *record.manifest.jobs), modules.module_of, machine):
            results.append(each)
            effects.emit(ReceiptSigned(receipt=each.raw.decode("ascii")))
            _store_receipt(each, folder, effects)
        return results, agent.keyid


def _module_source(paths: Paths, record: BootRecord) -> ModuleSource:
    fetched = ContentStore(PosixDisk(paths.data / "cas"), bound=MODULES_MIB * MIB)
    ours = ContentStore(PosixDisk(paths.jobs / "cas"), bound=0)
    if record.private:
        return ModuleSource(stores=(ours,), downloads=fetched, record=record)
    cache = ContentStore(PosixDisk(paths.cache / "cas"), bound=0)
    return ModuleSource(stores=(ours, cache, fetched), downloads=fetched, record=record)


@contextmanager
def _start_agent(paths: Paths, effects: Effects, *, persistent: bool) -> Iterator[SigningAgent]:
    """Run the signing agent of the stored key, or of a temporary one if that is unusable."""
    path = paths.data / "node.key"

    def source() -> NodeKey:
        if not persistent:
            return ephemeral()
        try:
            return load_or_create(path)
        except PublishError as error:
            return NodeKey(ephemeral().key, f"{error} This run uses a temporary key.")

    with signing_agent(source) as agent:
        effects.emit(NodeIdentified(node=agent.keyid, note=agent.note))
        yield agent


def _store_receipt(result: JobResult, folder: ReceiptFolder | None, effects: Effects) -> None:
    if folder is None:
        return
    try:
        folder.add(result.raw)
    except PlasmaError as error:
        _problem(effects, str(error))


def _upload_receipts(record: BootRecord, results: Sequence[JobResult], effects: Effects) -> None:
    """Upload the receipts to the first provider that accepts them; a failure is an event only."""
    if record.private or not results:
        return
    reach = policy_of(record.mode, record.signers).network.reach
    uploader = effects.uploader(record.proxy)
    for base in record.providers:
        reason = _upload_to(uploader, base, results, reach, effects)
        if reason is None:
            effects.emit(ReceiptsUploaded(provider=base, receipts=len(results)))
            return
        _problem(effects, f"{base} did not accept the receipts: {reason}.")


def _upload_to(
    uploader: ReceiptUploader,
    base: str,
    results: Sequence[JobResult],
    reach: Reach,
    effects: Effects,
) -> str | None:
    """Upload all receipts to ``base``; return the reason of a failure, or None."""
    waiting, reason = list(results), ""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            while waiting:
                uploader.upload(base, waiting[0].raw, reach=reach)
                waiting.pop(0)
        except UploadFailed as failure:
            reason = str(failure)
            if not failure.retryable or attempt == ATTEMPTS:
                break
            pause = BACKOFF.pause(attempt, effects.chance(), retry_after=failure.retry_after)
            effects.sleep(pause)
        else:
            return None
    return reason


def _problem(effects: Effects, sentence: str) -> None:
    effects.emit(ProblemFound(reason=sentence))
