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
class ChunksUnknown(Event):
    """An artifact is fetched as a whole, because the list of its chunks cannot be had."""

    event = "chunks.unknown"
    artifact: str
    reason: str
