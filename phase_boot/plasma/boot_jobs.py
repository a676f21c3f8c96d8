"""After the boot: run the jobs of this system, sign what became of them, keep it and hand it in.

Nothing of it can fail the boot: whatever goes wrong ends in an event that says so.
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
from phase_boot.machine.backoff import Backoff
from phase_boot.plasma.boot_record import BootRecord, InvalidHandoff
from phase_boot.plasma.errors import PlasmaError
from phase_boot.plasma.event_output import EventWriter, devices
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
"""Of modules that were fetched."""
ATTEMPTS: Final = 5
BACKOFF: Final = Backoff(first=2, longest=30)
"""Between attempts to hand in: an address may still be on its way."""
MAX_CMDLINE: Final = 8192
"""Bytes that are read of the kernel's command line."""
MAX_ROOTFS: Final = 128
"""Bytes of the file with the digest of the rootfs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are in the booted system.

    Attributes:
        handed: what its initramfs was handed, and the digest of the rootfs that it reckoned.
        jobs: what the rootfs brings: jobs, and a store of their modules.
        cache: where Cache is mounted, with the store of the seed.
        keep: a folder of Cache, where that can be written to; else it is in memory.
        root: where /proc and /sys are.
    """

    handed: Path = Path("/run/phase")
    jobs: Path = Path("/usr/lib/plasma.d")
    cache: Path = Path("/run/phase/cache")
    keep: Path = Path("/var/lib/plasma")
    root: Path = Path("/")


Tell = Callable[[str, dict[str, object]], None]
"""Takes the name of an event and its fields."""


def _receipt_desk(proxy: str) -> ReceiptUploader:
    from phase_boot.adapters.http.receipt_upload import HttpReceiptUploader  # noqa: PLC0415 - slow to import

    return HttpReceiptUploader(proxy=proxy)


def _same_disk(one: Path, other: Path) -> bool:
    """Say whether both are there, on one file system."""
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What this module does to the world."""

    tell: Tell
    desk: Callable[[str], ReceiptUploader] = _receipt_desk
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random
    same_disk: Callable[[Path, Path], bool] = _same_disk


def main(_options: object = None) -> int:
    """Run the jobs as the target's unit does, and return the exit status."""
    telling = EventWriter(devices(), lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    status = boot(Places(), Effects(tell=telling.tell))
    telling.drain()
    return status


def boot(places: Places, outside: Effects) -> int:
    """Run every job of this system and return 0 if all of them exited with 0."""
    try:
        handed = _handed(places)
        done, keyid = _run_all(places, handed, outside)
    except (InvalidHandoff, PublishError) as error:
        _problem(outside, str(error))
        return 1
    _hand_in(handed, done, outside)
    good = all(each.receipt.exit == 0 for each in done)
    outside.tell("plasma.done", {"jobs": len(done), "node": keyid})
    return 0 if good else 1


def _handed(places: Places) -> BootRecord:
    try:
        raw = read_regular(places.handed / "handoff.json", MAX_BYTES)
        rootfs = read_regular(places.handed / "rootfs.sha256", MAX_ROOTFS)
        handed = BootRecord.of(raw, Digest.parse(rootfs.decode("ascii").strip()))
        cmdline = read_regular(places.root / "proc/cmdline", MAX_CMDLINE).decode("latin-1")
    except (OSError, ValueError) as error:
        raise InvalidHandoff(
            f"What the boot handed over cannot be read ({error}): start this machine by its stick."
        ) from error
    _check_words(handed, cmdline)
    return handed


def _check_words(handed: BootRecord, cmdline: str) -> None:
    """Compare the hand-over document with what the same boot put on the kernel's command line.

    An image that the firmware started by itself has a command line of its own, without these.

    Raises:
        InvalidHandoff: they disagree, so that neither can be believed.
    """
    said = {word.name: word.value for word in parse(cmdline).parameters}
    for name, found in (
        ("phase.mode", handed.mode),
        ("phase.version", handed.manifest.version),
        ("phase.rootfs", handed.manifest.artifacts["rootfs"].digest),
    ):
        if said.get(name, str(found)) != str(found):
            raise InvalidHandoff(
                f"The hand-over document says {name}={found} and the kernel's command line "
                f"{name}={said[name]}: start this machine by its stick."
            )


def _run_all(places: Places, handed: BootRecord, outside: Effects) -> tuple[list[JobResult], str]:
    """Run the jobs of the rootfs, then those of the manifest; tell and keep each receipt."""
    found, wrong = rootfs_jobs(places.jobs)
    for sentence in wrong:
        _problem(outside, sentence)
    persistent = not handed.private and outside.same_disk(places.keep, places.cache)
    supply = _supply(places, handed)
    ledger = ReceiptFolder(places.keep / "receipts") if persistent else None
    done = []
    with _signing(places, outside, persistent=persistent) as keeper:
        machine = Machine(
            signer=keeper,
            arch=handed.arch,
            mode=handed.mode,
            booted=handed.booted(pcrs(places.root)),
            user=NOBODY if os.geteuid() == 0 else None,
        )
        for each in run_jobs((*found, *handed.manifest.jobs), supply.module_of, machine):
            done.append(each)
            outside.tell("plasma.receipt", {"receipt": each.raw.decode("ascii")})
            _keep(each, ledger, outside)
        return done, keeper.keyid


def _supply(places: Places, handed: BootRecord) -> ModuleSource:
    fetched = ContentStore(PosixDisk(places.keep / "cas"), bound=MODULES_MIB * MIB)
    ours = ContentStore(PosixDisk(places.jobs / "cas"), bound=0)
    if handed.private:
        return ModuleSource(shelves=(ours,), keep=fetched, handed=handed)
    cache = ContentStore(PosixDisk(places.cache / "cas"), bound=0)
    return ModuleSource(shelves=(ours, cache, fetched), keep=fetched, handed=handed)


@contextmanager
def _signing(places: Places, outside: Effects, *, persistent: bool) -> Iterator[SigningAgent]:
    """Keep the key of this machine; where that cannot be read or made, one for this run."""
    path = places.keep / "node.key"

    def source() -> NodeKey:
        if not persistent:
            return ephemeral()
        try:
            return load_or_create(path)
        except PublishError as error:
            return NodeKey(ephemeral().key, f"{error} This run has a key of its own.")

    with signing_agent(source) as keeper:
        outside.tell("plasma.node", {"node": keeper.keyid, "note": keeper.note})
        yield keeper


def _keep(done: JobResult, ledger: ReceiptFolder | None, outside: Effects) -> None:
    if ledger is None:
        return
    try:
        ledger.keep(done.raw)
    except PlasmaError as error:
        _problem(outside, str(error))


def _hand_in(handed: BootRecord, done: Sequence[JobResult], outside: Effects) -> None:
    """Give the receipts to the first provider that takes them; none of this is needed."""
    if handed.private or not done:
        return
    reach = policy_of(handed.mode, handed.signers).network.reach
    desk = outside.desk(handed.proxy)
    for base in handed.providers:
        reason = _handed_in(desk, base, done, reach, outside)
        if reason is None:
            outside.tell("plasma.handed_in", {"provider": base, "receipts": len(done)})
            return
        _problem(outside, f"{base} did not take the receipts: {reason}.")


def _handed_in(
    desk: ReceiptUploader, base: str, done: Sequence[JobResult], reach: Reach, outside: Effects
) -> str | None:
    """Return why the provider at ``base`` did not take all of them, or None."""
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
            pause = BACKOFF.pause(attempt, outside.chance(), retry_after=failure.retry_after)
            outside.sleep(pause)
        else:
            return None
    return reason


def _problem(outside: Effects, sentence: str) -> None:
    outside.tell("plasma.problem", {"reason": sentence})
