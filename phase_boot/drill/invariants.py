"""Invariants that hold after every boot, whatever was injected.

Each compares the fakes with what was signed or stored, and does not trust the journal's text: the
journal is one of the things under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.drill.injection import FaultKind
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.run import Run, persistent_files
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS
from phase_boot.handoff.cmdline import parse
from phase_boot.handoff.cpio import Entry, archive, head, padding
from phase_boot.handoff.document import BadHandoff, Handoff, read
from phase_boot.handoff.initrd import DOCUMENT, gap_after
from phase_boot.handoff.initrd import ROOTFS as ROOTFS_NAME
from phase_boot.journal.content_events import ManifestVerified
from phase_boot.journal.replay import ImpossibleJournalError, replay
from phase_boot.machine.graph import TERMINAL, State, Trigger
from phase_boot.machine.read_back import violations
from phase_boot.machine.retries import MIN_PAUSE_SECONDS, SCHEDULE
from phase_boot.store.content_store import ContentStore
from phase_boot.store.disk import Folder
from phase_boot.store.errors import StoreError
from phase_boot.url import is_url
from policies.model import Mode

GRACE: Final = 30.0
"""Seconds beyond its budget after which a handler that ignores cancellation is abandoned."""
WIPING: Final = ("init_on_free", "1")
"""The parameter that the handoff adds to the command line in Private mode only."""
NETWORK_MEMBERS: Final = (
    *("Dht.records", "Finder.", "Fetcher.", "PeerSharing."),
    *("Kexec.load", "Kexec.jump"),
)
"""Members that use the network or start the target."""
MAX_PAUSE: Final = max(backoff.longest for backoff in SCHEDULE.values())
LIES: Final = frozenset({FaultKind.CORRUPT, FaultKind.LIE, FaultKind.TEAR})


@dataclass(frozen=True, slots=True)
class Verdict:
    """An invariant, and how the run violates it, if it does."""

    statement: str
    violation: str | None

    @property
    def holds(self) -> bool:
        """Whether the invariant holds."""
        return self.violation is None


def verdicts(run: Run) -> list[Verdict]:
    """Check every invariant on ``run``."""
    return [Verdict(statement, next(check(run), None)) for statement, check in INVARIANTS.items()]


def _ends_well(run: Run) -> Iterator[str]:
    injected = [fault for fault, _ in run.plan.injected]
    if run.stuck is not None:
        # A person may take any time.
        silent = any(f.kind is FaultKind.HANG and _is_person(f.point.member) for f in injected)
        if run.stuck != State.SHELL.value or not silent:
            yield f"it hung in {run.stuck}"
        return
    if run.still_retrying:
        return
    if isinstance(run.error, asyncio.CancelledError):
        if not any(fault.kind is FaultKind.CANCEL for fault in injected):
            yield "it was cancelled, and no fault did that"
    elif run.error is not None:
        yield f"the driver raised {run.error!r}"
    elif run.end not in TERMINAL:
        yield f"it ended in {run.end}"
    elif run.end is State.OFF and not _person_was_asked(run):
        yield "it ended without asking a person"


def _retries_unattended(run: Run) -> Iterator[str]:
    """A Shell in which no key is pressed is left again, after growing, bounded pauses."""
    unattended = run.scenario.platform.table["shell"]["unattended"]
    names = [event["event"] for event in run.scenario.events]
    last = (
        names[len(names) - names[::-1].index("shell.opened") :] if "shell.opened" in names else []
    )
    touched = bool({"retry.stopped", "shell.chose"}.intersection(last))
    if run.stuck == State.SHELL.value and unattended and not touched:
        yield "it waits in the Shell for ever although no key was pressed"
    pauses = [float(event["seconds"]) for event in run.scenario.of("retry.scheduled")]
    if any(not MIN_PAUSE_SECONDS < pause <= MAX_PAUSE for pause in pauses):
        yield f"it pauses for {min(pauses)} to {max(pauses)} seconds"
    waits = [
        event["elapsed"]
        for event in run.scenario.of("transition")
        if event["trigger"] == Trigger.AUTO_RETRY.value
    ]
    if any(wait < MIN_PAUSE_SECONDS for wait in waits):
        yield f"it tried again after {min(waits)} seconds"


def _person_was_asked(run: Run) -> bool:
    """Say whether a person left the Shell, or a fault was injected into the Shell itself.

    In that case the daemon's exit status reports the failure, and systemd restarts the daemon.
    """
    injected = any(fault.point.state == State.SHELL.value for fault, _ in run.plan.injected)
    return injected or (run.boot is not None and run.boot.failure is None)


def _keeps_budgets(run: Run) -> Iterator[str]:
    budgets = {handler.state: handler.budget for handler in run.scenario.handlers}
    for visit in run.visits:
        budget = budgets[visit.state]
        if budget is not None and visit.seconds > budget + GRACE:
            yield f"{visit.state} took {visit.seconds:.0f} of {budget:.0f} seconds"


def _is_journalled(run: Run) -> Iterator[str]:
    try:
        walk = replay(run.scenario.journal.lines)
    except ImpossibleJournalError as error:
        yield str(error)
        return
    walked = [visit.state for visit in run.visits]
    journalled = list(walk.states[: len(walked)])
    if journalled != walked or len(walk.states) > len(walked) + 1:
        yield f"the journal walks {_spelled(walk.states)}, and it was {_spelled(walked)}"
    if run.end is not None and walk.end is not run.end:
        yield f"the journal ends in {walk.end}, and the boot in {run.end}"


def _starts_signed_bytes(run: Run) -> Iterator[str]:
    kexec, loader = run.scenario.kexec, run.scenario.loader
    if kexec.jumped:
        yield from _differences_from_signed(run, kexec.kernel, kexec.initrd, kexec.cmdline)
    if loader.restarted:
        cmdline = loader.payload.cmdline if loader.payload else None
        yield from _differences_from_signed(run, loader.kernel, loader.initrd, cmdline)


def _differences_from_signed(
    run: Run, kernel: bytes | None, initrd: bytes | None, cmdline: str | None
) -> Iterator[str]:
    if kernel != KERNEL:
        yield "the kernel that was started is not the signed one"
    document = _document(initrd or b"")
    if initrd not in {_initrd(document, rootfs=with_it) for with_it in (True, False)}:
        yield "the initrd is not the signed one followed by the handoff"
    mode = run.scenario.platform.table["mode"]
    expected = [
        *([WIPING] if mode == "private" else []),
        ("phase.mode", mode),
        ("phase.version", "2025.11.12"),
        ("phase.rootfs", str(Digest.of(ROOTFS))),
        ("quiet", None),
    ]
    if [(word.key, word.value) for word in parse(cmdline or "").parameters] != expected:
        yield f"the target's command line is {cmdline!r}"


def _handoff_is_readable(run: Run) -> Iterator[str]:
    for initrd in (run.scenario.kexec.initrd, run.scenario.loader.initrd):
        try:
            if initrd is None:
                continue
            handoff = read(_document(initrd))
            if (handoff.cache is None) != (ROOTFS in initrd):
                yield "the handoff names Cache although the rootfs is appended, or the reverse"
            yield from _manifest_source_faults(run, handoff)
        except BadHandoff as error:
            yield str(error)


def _manifest_source_faults(run: Run, handoff: Handoff) -> Iterator[str]:
    """Yield how `origin` in the hand-over document differs from the manifests of the journal."""
    events = map(json.loads, run.scenario.journal.lines)
    urls = {event["url"] for event in events if event["event"] == ManifestVerified.event}
    if handoff.manifest_source is None:
        if handoff.mode != Mode.PRIVATE and any(map(is_url, urls)):
            yield "the handoff does not name where the manifest came from"
    elif handoff.mode == Mode.PRIVATE or handoff.manifest_source.manifest not in urls:
        yield f"the handoff names {handoff.manifest_source.manifest} as the URL of the manifest"


def _document(initrd: bytes) -> bytes:
    return initrd[initrd.find(b'{\n "schema"') : initrd.rfind(b"\n}\n") + 3]


def _initrd(document: bytes, *, rootfs: bool) -> bytes:
    parts = [INITRAMFS, gap_after(len(INITRAMFS))]
    if rootfs:
        parts += [archive([Entry.folder("phase")], end=False)]
        parts += [head(Entry.file(ROOTFS_NAME, b""), size=len(ROOTFS)), ROOTFS]
        parts += [padding(len(ROOTFS))]
    return b"".join([*parts, archive([Entry.folder("phase"), Entry.file(DOCUMENT, document)])])


def _stores_verified_bytes(run: Run) -> Iterator[str]:
    lied = any(f.point.member.startswith("Disk.") and f.kind in LIES for f, _ in run.plan.injected)
    for disk in run.disks:
        wrong = set(_misnamed(disk))
        if lied:
            # A lying disk may hold anything; the store must detect it on open.
            _open_all(disk)
        if wrong and (not lied or set(_misnamed(disk)) & wrong):
            yield f"unverified bytes stand under {', '.join(sorted(wrong))}"


def _misnamed(disk: MemoryDisk) -> Iterator[str]:
    planted = getattr(disk, "added", {})
    for item in disk.items(Folder.ENTRIES):
        data = disk.content(Folder.ENTRIES, item.name)
        if Digest.of(data).hex != item.name and planted.get(item.name) != data:
            yield item.name


def _open_all(disk: MemoryDisk) -> None:
    store = ContentStore(disk, bound=1 << 30)
    for item in disk.items(Folder.ENTRIES):
        with contextlib.suppress(StoreError):
            store.open(Artifact("entry", Digest(item.name), item.size)).close()


def _private_writes_nothing(run: Run) -> Iterator[str]:
    if run.scenario.platform.table["mode"] != "private":
        return
    if run.scenario.cache.mounted:
        yield "Cache was mounted"
    if persistent_files(run.scenario) != run.before:
        yield "something was written to Cache"
    if run.scenario.loader.unstaged:
        yield "files were removed from the stick"
    if run.scenario.loader.kernel is not None:
        yield "an image was staged on the stick"
    if run.scenario.reports.saved:
        yield "a report was saved on the stick"


def _private_network_is_anonymous(run: Run) -> Iterator[str]:
    promised = run.scenario.platform.table["mode"] == "private"
    injected = [fault for fault, _ in run.plan.injected]
    lied = any(f.point.member.startswith("Privacy.") and f.kind in LIES for f in injected)
    if not promised or lied or not any(violations(run.scenario.privacy.found)):
        return
    used = {point.member for point in run.plan.calls if point.member.startswith(NETWORK_MEMBERS)}
    if used:
        yield f"{', '.join(sorted(used))} was called although a promise of Private is not met"


def _closes_descriptors(run: Run) -> Iterator[str]:
    if run.descriptors:
        yield f"{len(run.descriptors)} descriptor(s) stay open"


def _leaves_no_task(run: Run) -> Iterator[str]:
    if run.tasks:
        yield f"tasks are left behind: {', '.join(run.tasks)}"
    if run.plan.streams:
        yield f"{run.plan.streams} stream(s) were never closed"


def _releases_cache(run: Run) -> Iterator[str]:
    opened = any(point.member == "StoreOpener.open" for point in run.plan.calls)
    injected = any(fault.point.member == "StoreOpener.release" for fault, _ in run.plan.injected)
    if opened and not run.scenario.cache.released and not injected:
        yield "Cache was not released"


def _is_person(member: str) -> bool:
    return member.startswith("Operator.")


def _spelled(states: Iterable[State]) -> str:
    return " ".join(state.value for state in states)


INVARIANTS: Final[dict[str, Callable[[Run], Iterator[str]]]] = {
    "it ends in the target, or a person is asked": _ends_well,
    "an unattended machine tries again": _retries_unattended,
    "every state keeps to its budget": _keeps_budgets,
    "every move is in the journal, and replays": _is_journalled,
    "only what a threshold signed is started": _starts_signed_bytes,
    "the target can read its handoff document": _handoff_is_readable,
    "no unverified bytes stand in the store": _stores_verified_bytes,
    "Private leaves nothing on the stick": _private_writes_nothing,
    "Private uses no network that identifies the machine": _private_network_is_anonymous,
    "every descriptor is closed": _closes_descriptors,
    "no task and no stream is left behind": _leaves_no_task,
    "Cache is released": _releases_cache,
}
