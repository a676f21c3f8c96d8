"""Events of verified content: trust, the store, and the download of artifacts."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRecalled(Event):
    """The trusted root and the rollback floor; `kept` says whether they outlive this boot."""

    event = "trust.recalled"
    root: int | None
    seen: str | None
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StateDoubted(Event):
    """A state file on Cache is invalid and is ignored."""

    event = "state.doubted"
    deduplicated = True
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateNotKept(Event):
    """A state file could not be written; the next boot does not have it."""

    event = "state.not_kept"
    deduplicated = True
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFollowed(Event):
    """A newer root is trusted; `seen` is the rollback floor under it."""

    event = "root.followed"
    version: int
    url: str
    seen: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAccepted(Event):
    """A newer IPNS record of an announcing key names `url`; `validity` is when it expires."""

    event = "record.accepted"
    name: str
    sequence: int
    validity: str
    url: str


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
class StoreOpened(Event):
    """The store for artifacts; `note` says why it is not on Cache although it should be."""

    event = "store.opened"
    persistent: bool
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReleaseFailed(Event):
    """Cache could not be unmounted; its file system recovers at the next boot."""

    event = "cache.release_failed"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCorrupt(Event):
    """A stored artifact did not match its hash and was quarantined."""

    event = "store.corrupt"
    artifact: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStarted(Event):
    """The download of an artifact starts at `offset`; the bytes before it are stored."""

    event = "fetch.started"
    artifact: str
    size: int
    offset: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchProgress(Event):
    """`done` of `size` bytes of an artifact are stored; `rate` is in bytes per second."""

    event = "fetch.progress"
    artifact: str
    done: int
    size: int
    rate: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchDone(Event):
    """An artifact is complete and verified; `source` is `store` if it was stored before."""

    event = "fetch.done"
    artifact: str
    sha256: str
    size: int
    source: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFailed(Event):
    """A source failed; `retryable` says whether it is requested again."""

    event = "source.failed"
    source: str
    artifact: str
    reason: str
    retryable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceServed(Event):
    """A source sent `bytes` of an artifact; the whole download took `seconds`."""

    event = "source.served"
    source: str
    artifact: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerJoined(Event):
    """The provider at `source` is a tracker: this machine announces itself and learns peers."""

    event = "tracker.joined"
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSharingFailed(Event):
    """Sharing with peers failed, at the tracker `source` or, if it is empty, entirely."""

    event = "peer_sharing.failed"
    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkListUnavailable(Event):
    """An artifact is downloaded as a whole, because its chunk list is unavailable."""

    event = "chunk_list.unavailable"
    artifact: str
    reason: str
