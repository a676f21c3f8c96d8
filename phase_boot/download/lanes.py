"""Lanes: the requests that may be open to one source at once.

A lane sends one request after the other. A mirror has one lane: it fills the line. A gateway that
fetches blocks from other nodes first is slow for each request, and answers many at once, so it gets
more lanes while that makes it faster.
"""

from __future__ import annotations

import asyncio
from typing import Final

from phase_boot.download.rate import FIRST_BYTE_SECONDS, KIB, RateMeter
from phase_boot.download.source import Source

FIRST_LANES: Final = 4
"""Lanes that are opened at once, where the source takes as many."""
SLOW_LANE: Final = 1024 * KIB
"""Bytes per second of a lane below which more lanes are tried."""
TRIAL_SECONDS: Final = 1.0
"""Time after which it is judged whether more lanes made a source faster."""
GAIN: Final = 1.25
"""Increase of the rate that makes further lanes worth a trial."""


class Lane:
    """One request at a time to a source, with its rate."""

    __slots__ = ("meter", "source", "task")

    def __init__(self, source: Source, now: float) -> None:
        """Start without a request at ``now``, in seconds of a monotonic clock."""
        self.source = source
        self.meter = RateMeter(now)
        self.task: asyncio.Task[None] | None = None
        """What sends its requests."""


class Lanes:
    """All lanes of one source, and what they received together."""

    def __init__(self, source: Source, now: float) -> None:
        """Start without a lane at ``now``, in seconds of a monotonic clock."""
        self.source = source
        self.open: set[Lane] = set()
        self.meter = RateMeter(now)
        """What all lanes received."""
        self.ended = False
        """Whether the source is given up; no lane is opened then."""
        self._wanted = FIRST_LANES
        self._judge_at = now + TRIAL_SECONDS
        self._rate_before = 0.0
        """Bytes per second before the last lanes were added."""

    def missing(self, now: float) -> int:
        """Return how many lanes to open now."""
        if self.ended:
            return 0
        if now >= self._judge_at:
            self._judge(now)
        return max(0, min(self._wanted, self.source.max_lanes) - len(self.open))

    def close_surplus(self, lane: Lane) -> bool:
        """Close a lane if the source takes fewer by now; return whether it was closed."""
        surplus = len(self.open) > self.source.max_lanes
        if surplus:
            self.open.discard(lane)
        return surplus

    def close(self, lane: Lane, now: float) -> None:
        """Close a lane that failed; its source gets no other one before it is faster again."""
        self.open.discard(lane)
        self._wanted = max(1, len(self.open))
        self._rate_before = self.meter.last_rate(now)
        self._judge_at = now + TRIAL_SECONDS

    def add_bytes(self, lane: Lane, now: float, length: int) -> None:
        """Count received bytes."""
        lane.meter.add_bytes(now, length)
        self.meter.add_bytes(now, length)

    def unresponsive(self, now: float) -> bool:
        """Return whether the source failed last, or sends nothing in any lane since a while."""
        since = [lane.meter.waiting_since for lane in self.open]
        silent = [at is not None and now - at > FIRST_BYTE_SECONDS for at in since]
        return self.meter.failed or (bool(silent) and all(silent))

    def _judge(self, now: float) -> None:
        """Want twice the lanes of a slow source, if it is faster than before the last ones."""
        self._judge_at = now + TRIAL_SECONDS
        rate = self.meter.rate(now)
        slow = 0 < rate < SLOW_LANE * len(self.open)
        if slow and len(self.open) >= self._wanted and rate > GAIN * self._rate_before:
            self._rate_before = rate
            self._wanted = 2 * len(self.open)
