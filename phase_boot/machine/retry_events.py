"""Events of trying again: what waits, for how long, and why it no longer does."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.machine.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateDeferred(Event):
    """A source failed in a way that may pass; it is asked again after `seconds`."""

    event = "candidate.deferred"
    url: str
    reason: str
    failures: int
    seconds: float
