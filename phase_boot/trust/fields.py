"""Taking fields out of a parsed document, each by its type and bounds or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TypeVar

from phase_boot.trust.refusals import BadField
from phase_boot.url import base_url

MAX_MIRRORS: Final = 16
_CHANNEL: Final = re.compile(r"[a-z0-9-]{1,32}")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")

_T = TypeVar("_T")


def parse_channel(text: str) -> str:
    """Return ``text`` if it can name a channel; raise ValueError otherwise."""
    if not _CHANNEL.fullmatch(text):
        raise ValueError("a channel is 1 to 32 of a-z, 0-9 and -")
    return text


def parse_date(text: str) -> datetime:
    """Read an RFC 3339 date in UTC, such as 2025-11-12T08:00:00Z; raise ValueError otherwise."""
    if not _DATE.fullmatch(text):
        raise ValueError("a date is written as 2025-11-12T08:00:00Z")
    return datetime.fromisoformat(text)


def parse_mirror(text: str) -> str:
    """Return ``text`` as it was signed if it is the base URL of a mirror; raise BadUrl if not."""
    base_url(text)
    return text


def text_of(value: object, field: str) -> str:
    """Return ``value`` if it is a text.

    Raises:
        BadField: it is missing or something else.
    """
    if value is None:
        raise BadField(field=field, reason="missing")
    if not isinstance(value, str):
        raise BadField(field=field, reason="not a text")
    return value


def parsed(value: object, field: str, parse: Callable[[str], _T]) -> _T:
    """Return what ``parse`` makes of a text.

    Raises:
        BadField: it is no text, or ``parse`` raised a ValueError.
    """
    text = text_of(value, field)
    try:
        return parse(text)
    except ValueError as error:
        raise BadField(field=field, reason=error) from None


def matching(value: object, field: str, shape: re.Pattern[str]) -> str:
    """Return a text that has ``shape`` from end to end; raise BadField otherwise."""
    text = text_of(value, field)
    if not shape.fullmatch(text):
        raise BadField(field=field, reason="too long, or with characters that do not belong there")
    return text


def table_of(value: object, field: str) -> Mapping[str, object]:
    """Return ``value`` if it is an object; raise BadField otherwise."""
    if not isinstance(value, dict):
        raise BadField(field=field, reason="missing" if value is None else "not an object")
    return value


def list_of(value: object, field: str, *, most: int) -> list[object]:
    """Return ``value`` if it is a list of at most ``most``; raise BadField otherwise."""
    if not isinstance(value, list) or len(value) > most:
        raise BadField(field=field, reason=f"not a list of at most {most}")
    return value


def number_of(value: object, field: str, *, least: int, most: int) -> int:
    """Return a whole number within its bounds; raise BadField otherwise."""
    # A bool is an int to Python, and no number to anybody else.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadField(field=field, reason=f"not a whole number from {least} to {most}")
    return value
