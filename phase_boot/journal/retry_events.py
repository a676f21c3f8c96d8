"""Events of trying again: what waits, for how long, and why it no longer does."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.journal.event import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateDeferred(Event):
    """A source failed in a way that may pass; it is asked again after `seconds`."""

    event = "candidate.deferred"
    url: str
    reason: str
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled(Event):
    """The machine tries again by itself after `seconds`, unless a key is pressed.

    `retries` counts the automatic retries so far, and `kind` says how the failure may pass.
    """

    event = "retry.scheduled"
    retries: int
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryEarly(Event):
    """News from the network starts the next attempt before its pause ends."""

    event = "retry.early"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryStopped(Event):
    """A key was pressed: the machine waits until a person chooses."""

    event = "retry.stopped"
