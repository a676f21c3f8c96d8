"""Measuring how fast bytes come: for dividing work between sources, and for leaving slow ones."""

from __future__ import annotations

from collections import deque
from typing import Final

from phase_boot.ports.fetcher import FetchFailed

KIB: Final = 1024
PROGRESS_SECONDS: Final = 0.25
"""Shortest time between two progress events of an artifact."""
RATE_SECONDS: Final = 30
"""A source must keep the policy's lowest rate over each interval of this length."""
RATE_WINDOW_SECONDS: Final = 3.0
"""Length of the moving window over which `RateMeter` averages."""
METER_RESET_SECONDS: Final = 0.25
"""A pause before a request that is longer than this is left out of the rate."""
MIN_INTERVAL_SECONDS: Final = 0.02
"""Shortest interval over which a rate is computed."""
FIRST_BYTE_SECONDS: Final = 0.4
"""Time to the first byte after which others may be asked for the same (hedging)."""
ASSUMED_RATE: Final = 512 * KIB
"""Bytes per second that a source is taken to deliver before its first byte has come."""


class RateMeter:
    """Moving average of the bytes per second that one source delivers."""

    def __init__(self, now: float) -> None:
        """Start at ``now``, in seconds of a monotonic clock."""
        self._received: deque[tuple[float, int]] = deque()
        self._bytes = 0
        self._began = now
        self._last = 0.0
        self.total = 0
        """All bytes since the meter was made."""
        self.waiting_since: float | None = None
        """When the request began of which no byte has come; None if none is open."""
        self.failed = False
        """Whether the last request failed and nothing came since."""

    def start_request(self, now: float) -> None:
        """Note that a request begins; a pause before it does not lower the rate."""
        self.waiting_since = now
        if not self._received or now - self._received[-1][0] > METER_RESET_SECONDS:
            self._received.clear()
            self._bytes, self._began = 0, now

    def add_bytes(self, now: float, length: int) -> None:
        """Count received bytes."""
        self.total += length
        self.waiting_since, self.failed = None, False
        self._bytes += length
        self._received.append((now, length))

    def rate(self, now: float) -> float:
        """Return the bytes per second in the window; 0 if none came in it."""
        while self._received and self._received[0][0] < now - RATE_WINDOW_SECONDS:
            self._began, length = self._received.popleft()
            self._bytes -= length
        if self._bytes:
            self._last = self._bytes / max(now - self._began, MIN_INTERVAL_SECONDS)
            return self._last
        return 0.0

    def last_rate(self, now: float) -> float:
        """Return the last rate that was measured; 0 if there was none."""
        return self.rate(now) or self._last

    def expected_rate(self, now: float) -> float:
        """Return the rate to expect of a busy source.

        A request that began less than `FIRST_BYTE_SECONDS` ago does not lower it.
        """
        fresh = not self._bytes and now - self._began < FIRST_BYTE_SECONDS
        return self._last or float(ASSUMED_RATE) if fresh else self.rate(now)


class MinRateCheck:
    """Checks every `RATE_SECONDS` that a source keeps the lowest rate of the policy."""

    def __init__(self, min_rate: int, *, since: float, done: int) -> None:
        """Take the lowest rate in bytes per second, and the time and byte count to start from."""
        self._min_rate = min_rate
        self._since = since
        self._done = done

    def check(self, now: float, done: int) -> None:
        """Raise FetchFailed if the source was slower since the last check."""
        elapsed = now - self._since
        if elapsed < RATE_SECONDS:
            return
        if done - self._done < self._min_rate * elapsed:
            slow = f"it sends less than {self._min_rate // KIB} KiB a second"
            raise FetchFailed(slow, retryable=False)
        self._since, self._done = now, done
