"""Unsigned varints of multiformats and protobuf, below 2^63.

Only the shortest encoding of a number is accepted, so that no two byte strings mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MAX_BYTES: Final = 9
"""Bytes of the longest varint, of seven bits each."""
LIMIT: Final = 1 << 7 * MAX_BYTES
"""The first number that cannot be encoded."""
_CONTINUATION: Final = 0x80
"""The bit that is set in every byte but the last."""


def encode(number: int) -> bytes:
    """Return the encoding of ``number``; raise ValueError if it is out of range."""
    if not 0 <= number < LIMIT:
        raise ValueError(f"{number} is not a whole number from 0 to 2^63 - 1")
    encoded = bytearray()
    while number >= _CONTINUATION:
        encoded.append(number & 0x7F | _CONTINUATION)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def decode(data: Sequence[int], at: int = 0) -> tuple[int, int]:
    """Return the number that starts at offset ``at``, and the offset after it.

    Raises:
        EOFError: the data ends inside it.
        ValueError: it has a shorter encoding, or is 2^63 or more.
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
