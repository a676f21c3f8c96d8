"""Port of the clocks: a monotonic one for intervals, and the system clock for dates."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class ClockNotSet(Exception):
    """The system clock was not set; ``str`` is the reason, without a full stop."""


class Clock(Protocol):
    """The monotonic clock, the system clock, and a timer."""

    def monotonic(self) -> float:
        """Return seconds since the running kernel started, suspended time included."""

    def wall(self) -> datetime:
        """Return the time of the system clock in UTC; it may be wrong by decades."""

    def set_wall(self, to: datetime) -> None:
        """Set the system clock, for this boot only; `monotonic` does not jump.

        The hardware clock is never written.

        Raises:
            ClockNotSet: the permission is missing, or the clock reads back otherwise.
        """

    async def sleep(self, seconds: float) -> None:
        """Wait for this time."""
