"""Health of sources within one boot: which of them fail or do not answer.

A source that failed, or sent nothing while a request was open, is suspect for a time that doubles
with each further failure. Suspect sources are used after all others, and no request waits for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from phase_boot.machine.backoff import Backoff

SUSPICION: Final = Backoff(first=10.0, longest=120.0)
"""How long a source is suspect after each further failure, in seconds."""
MAX_SOURCES: Final = 1024
"""Sources that are remembered; the one with the oldest failure is dropped first."""
HEDGE_SECONDS: Final = 0.3
"""Time without a byte after which another source is asked for the same (hedging)."""


@dataclass(frozen=True, slots=True)
class _Failure:
    count: int
    until: float


class SourceHealth:
    """Remembers failures of sources by their base URLs."""

    def __init__(self) -> None:
        """Start without a failure."""
        self._failures: dict[str, _Failure] = {}

    def failed(self, source: str, now: float) -> None:
        """Record that a source failed or stays silent; while it is suspect this changes nothing."""
        known = self._failures.pop(source, None)
        if known is not None and now < known.until:
            self._failures[source] = known
            return
        count = known.count + 1 if known else 1
        self._failures[source] = _Failure(count, now + SUSPICION.pause(count, 0.0))
        if len(self._failures) > MAX_SOURCES:
            del self._failures[next(iter(self._failures))]

    def delivered(self, source: str) -> None:
        """Record that a source sent valid bytes."""
        self._failures.pop(source, None)

    def is_suspect(self, source: str, now: float) -> bool:
        """Return whether a source failed lately."""
        known = self._failures.get(source)
        return known is not None and now < known.until
