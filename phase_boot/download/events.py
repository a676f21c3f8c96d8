"""What the journal says of sources and chunks, beside the events that every fetch has."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.machine.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceServed(Event):
    """A source sent so many `bytes` of an artifact while it was being fetched for `seconds`."""

    event = "source.served"
    source: str
    artifact: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingJoined(Event):
    """The provider at `source` tells us of others who fetch the same, and them of us."""

    event = "meeting.joined"
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingFailed(Event):
    """Nothing is handed on, or nobody heard of, at `source` or anywhere: a fault says why."""

    event = "meeting.failed"
    source: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunksUnknown(Event):
    """An artifact is fetched as a whole, because the list of its chunks cannot be had."""

    event = "chunks.unknown"
    artifact: str
    reason: str
