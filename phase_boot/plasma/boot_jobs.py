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
from phase_boot.handoff.cmdline import parse
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
"""Bound of the downloaded modules."""
ATTEMPTS: Final = 5
BACKOFF: Final = Backoff(first=2, longest=30)
"""Between upload attempts: the network may not have an address yet."""
MAX_CMDLINE: Final = 8192
"""Bytes that are read of the kernel's command line."""
MAX_ROOTFS: Final = 128
"""Bytes of the file with the digest of the rootfs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Paths of the booted system.

    Attributes:
        handoff: the folder with the hand-over document and the digest of the rootfs.
        jobs: the jobs of the rootfs, and a store of their modules.
        cache: the mount point of Cache, with the store of the seed.
        keep: a writable folder of Cache, or one in memory.
        root: the parent of /proc and /sys.
    """

    handoff: Path = Path("/run/phase")
    jobs: Path = Path("/usr/lib/plasma.d")
    cache: Path = Path("/run/phase/cache")
    keep: Path = Path("/var/lib/plasma")
    root: Path = Path("/")


def _receipt_desk(proxy: str) -> ReceiptUploader:
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
    desk: Callable[[str], ReceiptUploader] = _receipt_desk
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random
    same_disk: Callable[[Path, Path], bool] = _same_disk


def main(_options: object = None) -> int:
    """Run the jobs as the target's unit does, and return the exit status."""
    output = EventWriter(devices(), lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    status = boot(Places(), Effects(emit=output.emit))
    output.drain()
    return status


def boot(places: Places, effects: Effects) -> int:
    """Run every job and return 0 if all of them exited with 0."""
    try:
        record = _read_record(places)
        done, keyid = _run_all(places, record, effects)
    except (InvalidHandoff, PublishError) as error:
        _problem(effects, str(error))
        return 1
    _hand_in(record, done, effects)
    good = all(each.receipt.exit == 0 for each in done)
    effects.emit(JobsDone(jobs=len(done), node=keyid))
    return 0 if good else 1


def _read_record(places: Places) -> BootRecord:
    try:
        raw = read_regular(places.handoff / "handoff.json", MAX_BYTES)
        rootfs = read_regular(places.handoff / "rootfs.sha256", MAX_ROOTFS)
        record = BootRecord.of(raw, Digest.parse(rootfs.decode("ascii").strip()))
        cmdline = read_regular(places.root / "proc/cmdline", MAX_CMDLINE).decode("latin-1")
    except (OSError, ValueError) as error:
        raise InvalidHandoff(
            f"What the boot handed over cannot be read ({error}): start this machine by its stick."
        ) from error
    _check_words(record, cmdline)
    return record


def _check_words(record: BootRecord, cmdline: str) -> None:
    """Compare the hand-over document with the kernel's command line of the same boot.

    An image that the firmware started by itself has a command line of its own, without these.

    Raises:
        InvalidHandoff: they disagree, so neither is trusted.
    """
    said = {word.name: word.value for word in parse(cmdline).parameters}
    for name, found in (
        ("phase.mode", record.mode),
        ("phase.version", record.manifest.version),
        ("phase.rootfs", record.manifest.artifacts["rootfs"].digest),
    ):
        if said.get(name, str(found)) != str(found):
            raise InvalidHandoff(
                f"The hand-over document says {name}={found} and the kernel's command line "
                f"{name}={said[name]}: start this machine by its stick."
            )


def _run_all(places: Places, record: BootRecord, effects: Effects) -> tuple[list[JobResult], str]:
    """Run the jobs of the rootfs, then those of the manifest; emit and store each receipt."""
    found, wrong = rootfs_jobs(places.jobs)
    for sentence in wrong:
        _problem(effects, sentence)
    persistent = not record.private and effects.same_disk(places.keep, places.cache)
    supply = _supply(places, record)
    ledger = ReceiptFolder(places.keep / "receipts") if persistent else None
    done = []
    with _signing(places, effects, persistent=persistent) as agent:
        machine = Machine(
            signer=agent,
            arch=record.arch,
            mode=record.mode,
            booted=record.booted(pcrs(places.root)),
            user=NOBODY if os.geteuid() == 0 else None,
        )
        for each in run_jobs((*found, *record.manifest.jobs), supply.module_of, machine):
            done.append(each)
            effects.emit(ReceiptSigned(receipt=each.raw.decode("ascii")))
            _keep(each, ledger, effects)
        return done, agent.keyid


def _supply(places: Places, record: BootRecord) -> ModuleSource:
    fetched = ContentStore(PosixDisk(places.keep / "cas"), bound=MODULES_MIB * MIB)
    ours = ContentStore(PosixDisk(places.jobs / "cas"), bound=0)
    if record.private:
        return ModuleSource(stores=(ours,), keep=fetched, record=record)
    cache = ContentStore(PosixDisk(places.cache / "cas"), bound=0)
    return ModuleSource(stores=(ours, cache, fetched), keep=fetched, record=record)


@contextmanager
def _signing(places: Places, effects: Effects, *, persistent: bool) -> Iterator[SigningAgent]:
    """Run the signing agent of the stored key, or of a temporary one if that is unusable."""
    path = places.keep / "node.key"

    def source() -> NodeKey:
        if not persistent:
            return ephemeral()
        try:
            return load_or_create(path)
        except PublishError as error:
            return NodeKey(ephemeral().key, f"{error} This run has a key of its own.")

    with signing_agent(source) as agent:
        effects.emit(NodeIdentified(node=agent.keyid, note=agent.note))
        yield agent


def _keep(done: JobResult, ledger: ReceiptFolder | None, effects: Effects) -> None:
    if ledger is None:
        return
    try:
        ledger.keep(done.raw)
    except PlasmaError as error:
        _problem(effects, str(error))


def _hand_in(record: BootRecord, done: Sequence[JobResult], effects: Effects) -> None:
    """Upload the receipts to the first provider that accepts them; a failure is an event only."""
    if record.private or not done:
        return
    reach = policy_of(record.mode, record.signers).network.reach
    desk = effects.desk(record.proxy)
    for base in record.providers:
        reason = _handed_in(desk, base, done, reach, effects)
        if reason is None:
            effects.emit(ReceiptsUploaded(provider=base, receipts=len(done)))
            return
        _problem(effects, f"{base} did not take the receipts: {reason}.")


def _handed_in(
    desk: ReceiptUploader, base: str, done: Sequence[JobResult], reach: Reach, effects: Effects
) -> str | None:
    """Upload all receipts to ``base``; return the reason of a failure, or None."""
    waiting, reason = list(done), ""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            while waiting:
                desk.upload(base, waiting[0].raw, reach=reach)
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
