"""A subset of DAG-CBOR: one map from texts to whole numbers, bytes and texts.

IPNS records sign their data in this form. DAG-CBOR gives each value one encoding (IPLD, "DAG-CBOR
Spec", section "Strictness"): numbers and lengths in their shortest form, keys sorted by length and
then by bytes, and no indefinite lengths. `decode` accepts that encoding only, so `encode` returns
the bytes that it read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

MAX_FIELDS: Final = 32
"""Entries of the largest map."""
LIMIT: Final = 1 << 64
"""The first number that has no encoding."""

Value: TypeAlias = int | bytes | str

_NUMBER, _BYTES, _TEXT, _MAP = 0, 2, 3, 5
_KINDS: Final = (
    *("a number", "a negative number", "bytes", "a text"),
    *("a list", "a map", "a tag", "a float or a simple value"),
)
"""The major types (RFC 8949, section 3.1)."""
_IMMEDIATE: Final = 24
"""The first number that follows its head in 1, 2, 4 or 8 bytes."""
_LONGEST: Final = 27
"""The head of a number in 8 bytes; those above are reserved, or of an indefinite length."""


class BadCbor(ValueError):
    """The bytes are not the canonical encoding of such a map; the text is the reason."""


def encode(fields: Mapping[str, Value]) -> bytes:
    """Return the encoding of ``fields``.

    Raises:
        ValueError: a number is negative, or 2^64 or more.
    """
    parts = [_head(_MAP, len(fields))]
    for name in sorted(fields, key=_order):
        parts += (_encoded(name), _encoded(fields[name]))
    return b"".join(parts)


def decode(data: bytes) -> dict[str, Value]:
    """Return the map in ``data``, whose keys are in the canonical order.

    Raises:
        BadCbor: it is anything but the canonical encoding of a map of at most ``MAX_FIELDS``.
    """
    reader = _Reader(data)
    _, count = reader.head(_MAP)
    if count > MAX_FIELDS:
        raise BadCbor(f"more than {MAX_FIELDS} fields")
    fields: dict[str, Value] = {}
    last: tuple[int, bytes] | None = None
    for _ in range(count):
        name = reader.text()
        if last is not None and _order(name) <= last:
            raise BadCbor("a key out of order, or twice")
        last = _order(name)
        fields[name] = reader.value()
    reader.finish()
    return fields


class _Reader:
    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def head(self, *kinds: int) -> tuple[int, int]:
        """Read the head of an item of one of ``kinds``: its kind, and its number or length."""
        start = self._at
        kind, short = divmod(self._take(1)[0], 32)
        if kind not in kinds:
            raise BadCbor(f"{_KINDS[kind]} where {' or '.join(_KINDS[k] for k in kinds)} belongs")
        if short < _IMMEDIATE:
            return kind, short
        if short > _LONGEST:
            raise BadCbor("an indefinite length")
        number = int.from_bytes(self._take(1 << short - _IMMEDIATE))
        if _head(kind, number) != self._data[start : self._at]:
            raise BadCbor("a number or length that is not in its shortest form")
        return kind, number

    def text(self) -> str:
        """Read a text."""
        _, length = self.head(_TEXT)
        return self._text(length)

    def value(self) -> Value:
        """Read a number, bytes or a text."""
        kind, number = self.head(_NUMBER, _BYTES, _TEXT)
        if kind == _NUMBER:
            return number
        return self._take(number) if kind == _BYTES else self._text(number)

    def finish(self) -> None:
        """Refuse remaining bytes."""
        if self._at != len(self._data):
            raise BadCbor(f"{len(self._data) - self._at} bytes too many")

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise BadCbor("a text that is not UTF-8") from None

    def _take(self, length: int) -> bytes:
        start, end = self._at, self._at + length
        if end > len(self._data):
            raise BadCbor("the data ends early")
        self._at = end
        return self._data[start:end]


def _order(name: str) -> tuple[int, bytes]:
    """Return what keys are sorted by."""
    data = name.encode()
    return len(data), data


def _encoded(value: Value) -> bytes:
    if isinstance(value, int):
        return _head(_NUMBER, value)
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    data = value.encode()
    return _head(_TEXT, len(data)) + data


def _head(kind: int, number: int) -> bytes:
    """Return the shortest head of an item; its number is in network byte order."""
    if not 0 <= number < LIMIT:
        raise ValueError(f"{number} is not a whole number from 0 to 2^64 - 1")
    if number < _IMMEDIATE:
        return bytes((kind << 5 | number,))
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes((kind << 5 | _IMMEDIATE - 1 + size.bit_length(),)) + number.to_bytes(size)
