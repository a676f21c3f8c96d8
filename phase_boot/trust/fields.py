"""Typed access to the fields of a parsed document: each is checked by its type and its bounds."""

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
    """Return ``text`` unchanged if it is the base URL of a mirror; raise BadUrl otherwise."""
    base_url(text)
    return text


def text_of(value: object, field: str) -> str:
    """Return ``value`` if it is a string.

    Raises:
        BadField: it is missing or of another type.
    """
    if value is None:
        raise BadField(field=field, reason="missing")
    if not isinstance(value, str):
        raise BadField(field=field, reason="not a text")
    return value


def parsed(value: object, field: str, parse: Callable[[str], _T]) -> _T:
    """Return the result of ``parse`` for a string.

    Raises:
        BadField: the value is not a string, or ``parse`` raised ValueError.
    """
    text = text_of(value, field)
    try:
        return parse(text)
    except ValueError as error:
        raise BadField(field=field, reason=error) from None


def matching(value: object, field: str, shape: re.Pattern[str]) -> str:
    """Return a string that ``shape`` matches as a whole; raise BadField otherwise."""
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
    # In Python a bool is an int; in JSON it is not a number.
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadField(field=field, reason=f"not a whole number from {least} to {most}")
    return value
