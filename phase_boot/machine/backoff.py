"""Exponential backoff with jitter, the only copy of this rule: retries, deferrals and bans use it.

The module does not sleep, read a clock or draw random numbers: all of these are arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

MAX_DOUBLINGS: Final = 64
"""Failures after this one do not lengthen the pause, so that no float overflows."""
JITTER: Final = 0.5
"""Largest random share by which a pause is shortened, so that machines that failed together do not
retry together. Because pauses double, none is shorter than the one before it."""
PASSING_STATUSES: Final = frozenset({408, 425, 429, *range(500, 600)})
"""HTTP statuses after which the same request may succeed later (RFC 9110 section 15)."""
MAX_HEADER: Final = 64
"""Longest Retry-After field that is parsed, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that double from `first` up to `longest` seconds.

    Attributes:
        first: seconds of the first pause, before jitter.
        longest: upper bound of every pause in seconds, also of those that a server asks for.

    Raises:
        ValueError: ``first`` is not positive, or ``longest`` is infinite or less than ``first``.
    """

    first: float
    longest: float

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.longest < math.inf:
            raise ValueError("a pause is longer than 0 seconds and bounded")

    def pause(self, failures: int, chance: float, *, retry_after: float | None = None) -> float:
        """Return the seconds to wait after ``failures`` failures in a row.

        Args:
            failures: attempts that failed since the last success, from 1.
            chance: a random number from 0 (the longest pause) up to 1.
            retry_after: seconds that the server asked for (RFC 9110 section 10.2.3); the pause is
                not shorter, within `longest`.
        """
        doublings = min(max(0, failures - 1), MAX_DOUBLINGS)
        full = min(self.longest, self.first * 2.0**doublings)
        jittered = full * (1 - JITTER * min(max(0.0, chance), 1.0))
        return min(self.longest, max(jittered, retry_after or 0.0))


def retry_after(value: str | None, *, date: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After field asks for; None if it is missing or invalid.

    Args:
        value: the field: a number of seconds or an HTTP-date (RFC 9110 section 10.2.3).
        date: the Date field of the same response: the time of the server's clock.
        now: the time of the own clock, for a response without a Date.
    """
    if value is None or len(value) > MAX_HEADER:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    until = _http_date(text)
    if until is None:
        return None
    return max(0.0, (until - (_http_date(date or "") or now)) / timedelta(seconds=1))


def _http_date(text: str) -> datetime | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - not on every boot

    try:
        found = parsedate_to_datetime(text[:MAX_HEADER])
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
