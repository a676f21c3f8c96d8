"""Deferral of candidates whose source failed temporarily: when each is requested again.

All functions are pure: the time is an argument, in seconds of `Clock.monotonic`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from phase_boot.machine.backoff import Backoff
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import Candidate

PATIENCE_SECONDS: Final = 45.0
"""Time limit of all requests to one candidate in one attempt, including the pauses."""
MIN_SECONDS: Final = 1.0
"""Shortest time limit of a request."""
BACKOFF: Final = Backoff(first=0.5, longest=300)
MAX_DEFERRED: Final = 16
"""Candidates that are deferred at once; further ones are refused, and found again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """A candidate that is requested again later.

    Attributes:
        candidate: the candidate.
        failures: its failures in a row.
        since: when it was first requested in this attempt; None if it was not.
        due: the earliest time of the next request.
        asked: whether the source asked for the pause (Retry-After).
        reason: its latest failure, in one sentence.
    """

    candidate: Candidate
    failures: int
    since: float | None
    due: float
    asked: bool
    reason: str

    @classmethod
    def new(cls, candidate: Candidate, began: float) -> Self:
        """Return the entry of a candidate that is requested from ``began`` on."""
        return cls(candidate=candidate, failures=0, since=began, due=began, asked=False, reason="")

    def after(self, failure: FetchFailed, *, now: float, chance: float) -> Deferred:
        """Return the entry after one more failure.

        ``chance`` is a random number from 0 up to 1.
        """
        failures = self.failures + 1
        pause = BACKOFF.pause(failures, chance, retry_after=failure.retry_after)
        return replace(
            self,
            failures=failures,
            due=now + pause,
            asked=failure.retry_after is not None,
            reason=str(failure),
        )

    @property
    def patient(self) -> bool:
        """Whether it is due within `PATIENCE_SECONDS` of its first request."""
        return self.since is not None and self.due <= self.since + PATIENCE_SECONDS


Queue = tuple[Deferred, ...]


def find(queue: Queue, url: str) -> Deferred | None:
    """Return the entry of ``url``, or None."""
    return next((each for each in queue if each.candidate.url == url), None)


def started(queue: Queue, candidate: Candidate, began: float) -> Deferred:
    """Return the entry of a candidate that is requested from ``began`` on."""
    entry = find(queue, candidate.url)
    if entry is None:
        return Deferred.new(candidate, began)
    return entry if entry.since is not None else replace(entry, since=began)


def without(queue: Queue, url: str) -> Queue:
    """Return the queue without ``url``."""
    return tuple(each for each in queue if each.candidate.url != url)


def patience(entry: Deferred | None, now: float) -> float:
    """Return the seconds that are left for requests to a candidate."""
    if entry is None or entry.since is None:
        return PATIENCE_SECONDS
    return max(MIN_SECONDS, entry.since + PATIENCE_SECONDS - now)


def next_due(queue: Queue, rejected: frozenset[str]) -> Deferred | None:
    """Return the entry that is due first, among those that this attempt waits for."""
    waiting = [e for e in queue if e.patient and e.candidate.url not in rejected]
    return min(waiting, key=lambda each: each.due, default=None)


def due_now(queue: Queue, now: float) -> Queue:
    """Return the queue after the network has grown: all are due, except pauses of sources."""
    return tuple(each if each.asked else replace(each, since=now, due=now) for each in queue)


def for_next_attempt(queue: Sequence[Deferred], now: float) -> Queue:
    """Return the queue for a later attempt: it keeps failure counts and pauses of sources.

    A source that has failed often is then requested once in an attempt, not in short intervals.
    """
    return tuple(
        replace(each, since=now)
        if each.asked and each.due > now
        else replace(each, since=None, due=now, asked=False)
        for each in queue
    )
