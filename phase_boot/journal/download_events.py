"""Journal events of sources, trackers and chunks, beside the events of `journal.events`."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceServed(Event):
    """A source sent `bytes` of an artifact, whose download took `seconds`."""

    event = "source.served"
    source: str
    artifact: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerJoined(Event):
    """The provider at `source` is a tracker: it names peers to us and us to them."""

    event = "tracker.joined"
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSharingFailed(Event):
    """Sharing with peers failed, at the tracker `source` or, if that is empty, altogether."""

    event = "peer_sharing.failed"
    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkListUnavailable(Event):
    """An artifact is downloaded as a whole, because the list of its chunks is unavailable."""

    event = "chunk_list.unavailable"
    artifact: str
    reason: str
