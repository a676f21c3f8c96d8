"""Everything the journal can say, one frozen type each (SPEC D3).

A type here is the *fact*; the journal stamps it with `seq`, `at` and `boot_id`.
`at` is in seconds since the start of the running kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event
from phase_boot.machine.graph import State, Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The daemon begins; `wall` is the clock's UTC time, believed or not."""

    event = "run.started"
    arch: str
    mode: str
    wall: str
    build: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted(Event):
    """A run before this one ended in the middle; it had written down `lines` events."""

    event = "run.interrupted"
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(Event):
    """A stage before the daemon began `reached` seconds after the kernel (negative: before it)."""

    event = "stage"
    lasting = True
    name: str
    reached: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StateEntered(Event):
    """A handler starts; `attempt` counts the visits of this state, from 1."""

    event = "state.entered"
    state: State
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition(Event):
    """The machine moved, `elapsed` seconds after it entered `source`."""

    event = "transition"
    source: State
    trigger: Trigger
    target: State
    cause: str | None
    attempt: int
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed(Event):
    """A handler failed in a way nobody foresaw: a bug, written down."""

    event = "crashed"
    state: State
    error: str
    trace: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkUp(Event):
    """A link has an address."""

    event = "link.up"
    interface: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    vlan: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMissing(Event):
    """No link got an address in time; the boot goes on with what is on Cache."""

    event = "link.missing"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOpened(Event):
    """Where artifacts go; `note` says why it is not Cache when it should have been."""

    event = "store.opened"
    persistent: bool
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReleaseFailed(Event):
    """Cache could not be given back; its filesystem recovers at the next boot."""

    event = "cache.release_failed"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCorrupt(Event):
    """A stored artifact did not hash to its name and was set aside."""

    event = "store.corrupt"
    artifact: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinderFailed(Event):
    """A way of finding manifests is out of order; the others go on."""

    event = "finder.failed"
    lasting = True
    origin: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFound(Event):
    """Somebody says there is a manifest at `url`; nothing of it is believed."""

    event = "candidate.found"
    url: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRefused(Event):
    """A manifest was not to be had or not acceptable."""

    event = "candidate.refused"
    url: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRecalled(Event):
    """Whom this machine trusts and the highest version it knows of; `kept` outlives this boot."""

    event = "trust.recalled"
    root: int | None
    seen: str | None
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDoubted(Event):
    """Something of what the stick wrote down does not count."""

    event = "state.doubted"
    lasting = True
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateNotKept(Event):
    """Something could not be written down; the next boot will not know it."""

    event = "state.not_kept"
    lasting = True
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFollowed(Event):
    """A newer root counts from here on; `seen` is the highest version known under it."""

    event = "root.followed"
    version: int
    url: str
    seen: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestVerified(Event):
    """A threshold of trusted keys signed this manifest."""

    event = "manifest.verified"
    version: str
    channel: str
    arch: str
    keys: tuple[str, ...]
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStarted(Event):
    """Bytes of an artifact are asked for; `offset` of them are already here."""

    event = "fetch.started"
    artifact: str
    size: int
    offset: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchProgress(Event):
    """`done` of `size` bytes of an artifact are stored; `rate` more come every second."""

    event = "fetch.progress"
    artifact: str
    done: int
    size: int
    rate: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchDone(Event):
    """An artifact is here and hashes to what was signed; `source` is `store` if it already was."""

    event = "fetch.done"
    artifact: str
    sha256: str
    size: int
    source: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFailed(Event):
    """A source could not deliver; `retryable` says whether it is asked again."""

    event = "source.failed"
    source: str
    artifact: str
    reason: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelInspected(Event):
    """What the verified kernel is, how it is started `first`, and the `reason` if not by kexec."""

    event = "kernel.inspected"
    format: str
    arch: str
    packing: str | None
    version: str | None
    first: str
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KexecFailed(Event):
    """A system call would not take the image; `errno` is its name, `reason` the same in words."""

    event = "kexec.failed"
    method: str
    errno: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KexecLoaded(Event):
    """The running kernel holds the new one."""

    event = "kexec.loaded"
    method: str
    cmdline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KexecJump(Event):
    """The last line before the jump; `rss_peak` is the daemon's, in bytes."""

    event = "kexec.jump"
    version: str
    rss_peak: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderStaged(Event):
    """The firmware's loader will start the image once; the last line before the restart."""

    event = "loader.staged"
    version: str
    entry: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderCleared(Event):
    """What an earlier boot had staged is gone from the stick."""

    event = "loader.cleared"
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderNotCleared(Event):
    """Something of what an earlier boot had staged is still on the stick."""

    event = "loader.not_cleared"
    lasting = True
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellOpened(Event):
    """A person is asked; `cause` is one sentence, `way_out` another."""

    event = "shell.opened"
    cause: str
    way_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellChose(Event):
    """What a person wished; never what they typed with it."""

    event = "shell.chose"
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSet(Event):
    """A person set up a link; without addresses it asks DHCP."""

    event = "network.set"
    interface: str
    addresses: tuple[str, ...]
    vlan: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkNotSet(Event):
    """What a person asked of the network could not be done."""

    event = "network.not_set"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSaved(Event):
    """A report lies on the stick."""

    event = "report.saved"
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportNotSaved(Event):
    """A report could not be put on the stick."""

    event = "report.not_saved"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkLost(Event):
    """The journal is no longer written to one of its places; the others have it all."""

    event = "sink.lost"
    sink: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """The run is over in a terminal state."""

    event = "run.ended"
    state: State
    rss_peak: int
