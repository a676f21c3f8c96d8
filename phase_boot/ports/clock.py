"""Time, as the machine sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class ClockNotSet(Exception):
    """The system clock was not set; ``str`` is the reason, without a full stop."""


class Clock(Protocol):
    """Seconds that only grow, the date that somebody set, and the patience to wait."""

    def monotonic(self) -> float:
        """Return seconds since the running kernel started, suspended time included."""

    def wall(self) -> datetime:
        """Return what the machine believes the UTC date to be; it may be wrong by decades."""

    def set_wall(self, to: datetime) -> None:
        """Set the date that `wall` returns, for this boot only; `monotonic` does not jump.

        The hardware clock is never written.

        Raises:
            ClockNotSet: it is not ours to set, or it does not say what was set.
        """

    async def sleep(self, seconds: float) -> None:
        """Wait."""
