"""Time, as the machine sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow, the date that somebody set, and the patience to wait."""

    def monotonic(self) -> float:
        """Return seconds since the running kernel started, suspended time included."""

    def wall(self) -> datetime:
        """Return what the machine believes the UTC date to be; it may be wrong by decades."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
