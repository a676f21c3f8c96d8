"""Parsing of Range headers: the single byte ranges of RFC 9110."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# A number longer than this is beyond the end of any file, and slow to convert.
_SINGLE: Final = re.compile(r"bytes=\s*([0-9]{1,18})?-([0-9]{1,18})?\s*", re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """The range starts beyond the end."""


@dataclass(frozen=True, slots=True)
class HttpRange:
    """``count`` bytes from ``start`` on."""

    start: int
    count: int


def parse_range(header: str, size: int) -> HttpRange | None:
    """Return the range of ``size`` bytes that a Range header requests.

    None means the whole file: the header is absent, or is not a single byte range (RFC 9110 lets a
    server ignore others).

    Raises:
        RangeNotSatisfiable: the range has no byte within the file.
    """
    found = _SINGLE.fullmatch(header)
    if found is None or (found[1] is None and found[2] is None):
        return None
    if found[1] is None:
        return _suffix(int(found[2]), size)
    start = int(found[1])
    end = size - 1 if found[2] is None else min(int(found[2]), size - 1)
    if found[2] is not None and int(found[2]) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable
    return HttpRange(start, end - start + 1)


def _suffix(count: int, size: int) -> HttpRange:
    count = min(count, size)
    if count == 0:
        raise RangeNotSatisfiable
    return HttpRange(size - count, count)
