"""Unsigned varints as multiformats and protobuf spell them: one spelling each, below 2^63."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MAX_BYTES: Final = 9
"""Bytes of a varint: nine times seven bits."""
LIMIT: Final = 1 << 7 * MAX_BYTES
"""What every number is below."""
_CONTINUATION: Final = 0x80
"""The bit that says that another byte follows."""


def encode(number: int) -> bytes:
    """Return the shortest spelling of ``number``; raise ValueError if it has none."""
    if not 0 <= number < LIMIT:
        raise ValueError(f"{number} is not a whole number from 0 to 2^63 - 1")
    spelled = bytearray()
    while number >= _CONTINUATION:
        spelled.append(number & 0x7F | _CONTINUATION)
        number >>= 7
    spelled.append(number)
    return bytes(spelled)


def decode(data: Sequence[int], at: int = 0) -> tuple[int, int]:
    """Return the number that starts at ``at``, and where it ends.

    Raises:
        EOFError: the data ends inside it.
        ValueError: it has a shorter spelling, or is 2^63 or more.
    """
    number = 0
    for shift in range(0, 7 * MAX_BYTES, 7):
        if at >= len(data):
            raise EOFError("the data ends inside a number")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < _CONTINUATION:
            if not byte and shift:
                raise ValueError("a number is spelled longer than it needs to be")
            return number, at
    raise ValueError("a number is 2^63 or more")
