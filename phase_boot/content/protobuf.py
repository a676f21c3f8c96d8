"""Fields of a protobuf message, as a hostile sender may write them.

Only the two wire types that the formats of IPFS use are read. A reader of one message type decides
which numbers it knows, and which may occur twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from phase_boot.content import varint

VARINT: Final = 0
BYTES: Final = 2


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the content of each field: an integer, or bytes.

    Raises:
        ValueError: the message ends inside a field, or has a field of another wire type.
    """
    at = 0
    try:
        while at < len(message):
            tag, at = varint.decode(message, at)
            wire_type = tag & 7
            if wire_type not in {VARINT, BYTES}:
                raise ValueError(f"a field of wire type {wire_type}")
            number, at = varint.decode(message, at)
            if wire_type == VARINT:
                yield tag >> 3, number
                continue
            start, at = at, at + number
            if at > len(message):
                raise ValueError("a field that is longer than the message")
            yield tag >> 3, message[start:at]
    except EOFError as error:
        raise ValueError(str(error)) from None


def bytes_field(number: int, content: bytes) -> bytes:
    """Return a field of bytes."""
    return varint.encode(number << 3 | BYTES) + varint.encode(len(content)) + content


def number_field(number: int, content: int) -> bytes:
    """Return a field that holds a number."""
    return varint.encode(number << 3 | VARINT) + varint.encode(content)
