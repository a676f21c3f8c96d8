"""Dates as a publisher writes them: RFC 3339, or so long after the release."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from phase_boot.trust.fields import parse_date

_SPAN: Final = re.compile(r"\+([0-9]{1,6})([hdw])")
_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def parse_expiry(text: str, issued: datetime) -> datetime:
    """Read a date in UTC, or ``+30d`` (``h``, ``d`` or ``w``) after ``issued``.

    Raises:
        ValueError: it is neither, or beyond the year 9999.
    """
    span = _SPAN.fullmatch(text)
    if span is None:
        return parse_date(text)
    try:
        return issued + int(span[1]) * _UNITS[span[2]]
    except OverflowError:
        raise ValueError("that is too far away") from None


def rfc3339(date: datetime) -> str:
    """Return a date as it stands in documents and is shown to people, to the second."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
