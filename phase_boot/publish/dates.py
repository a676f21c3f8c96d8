"""Dates on the command line: RFC 3339, or a span after the release was issued."""

from __future__ import annotations

import calendar
import re
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Final

from phase_boot.trust.fields import parse_date

FORMS: Final = "2026-01-31T00:00:00Z, or +12h, +90d, +12w, +6m or +1y after it is issued"
"""The forms of an expiry date, as help and errors name them."""
_SPAN: Final = re.compile(r"\+([0-9]{1,6})([hdwmy])")
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_MONTHS: Final = {"m": 1, "y": 12}


def parse_expiry(text: str, issued: datetime) -> datetime:
    """Read a date in UTC, or a span after ``issued`` such as ``+30d``.

    The units are hours, days, weeks, and months and years of the calendar: a month after
    31 January is the last day of February.

    Raises:
        ValueError: the text is neither, or the date is after the year 9999.
    """
    span = _SPAN.fullmatch(text)
    if span is None:
        try:
            return parse_date(text)
        except ValueError:
            raise ValueError(f"write {FORMS}") from None
    number, unit = int(span[1]), span[2]
    try:
        if unit in _MONTHS:
            return _months_after(issued, number * _MONTHS[unit])
        return issued + number * _UNITS[unit]
    except (OverflowError, ValueError):
        raise ValueError("that is too far away") from None


def _months_after(date: datetime, months: int) -> datetime:
    years, month = divmod(date.month - 1 + months, 12)
    year = date.year + years
    if year > MAXYEAR:
        raise OverflowError
    last = calendar.monthrange(year, month + 1)[1]
    return date.replace(year=year, month=month + 1, day=min(date.day, last))


def rfc3339(date: datetime) -> str:
    """Return a date in the form of documents and messages, to the second."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
