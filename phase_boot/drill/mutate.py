"""Mutate the values that a port returns: flip, replace or truncate them.

A mutated value keeps its type, because a real port cannot return another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from random import Random
from types import MappingProxyType
from typing import Any, Final

HOSTILE: Final = "\x1b[2J\r\nhttp://198.51.100.7/x?\N{RIGHT-TO-LEFT OVERRIDE}"
"""Text that would move a terminal's cursor, end its line, or pass for a URL."""
NUMBERS: Final = (0, -1, 1 << 62)
DATES: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC))


def flip(value: Any, chance: Random) -> Any:
    """Return ``value`` with one bit or field changed, or unchanged if that is impossible."""
    if isinstance(value, bytes | bytearray | memoryview):
        return _flipped(bytes(value), chance)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        chance.shuffle(names)
        for name in names:
            old = getattr(value, name)
            new = flip(old, chance)
            if new != old:
                return replace(value, **{name: new})
        return value
    if isinstance(value, tuple) and value:
        at = chance.randrange(len(value))
        return (*value[:at], flip(value[at], chance), *value[at + 1 :])
    return _simple(value, chance)


def replace_all(value: Any, chance: Random) -> Any:
    """Return another value of the type of ``value``, with everything changed."""
    if isinstance(value, bytes | bytearray | memoryview):
        return chance.randbytes(len(value))
    if is_dataclass(value) and not isinstance(value, type):
        changes = {
            field.name: replace_all(getattr(value, field.name), chance) for field in fields(value)
        }
        return replace(value, **changes)
    if isinstance(value, tuple):
        return ()
    return _simple(value, chance)


def truncate(value: Any) -> Any:
    """Return the first half of ``value``; None if the type has no halves."""
    if isinstance(value, bytes | bytearray | memoryview | str | tuple):
        return value[: len(value) // 2]
    return None


def descriptor_of(fd: int, change: Callable[[bytes], bytes | None]) -> int:
    """Close ``fd`` and return a descriptor of its content as changed by ``change``."""
    content = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    lie = os.memfd_create("lie", os.MFD_CLOEXEC)
    os.write(lie, change(content) or b"")
    return lie


def _flipped(data: bytes, chance: Random) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def _simple(value: Any, chance: Random) -> Any:
    for kind, change in _CHANGES.items():
        if isinstance(value, kind):
            return change(value, chance)
    return value


def _another(value: Enum, chance: Random) -> Enum:
    return chance.choice([each for each in type(value) if each is not value] or [value])


# In this order: an enumeration may be a string, and every bool is an int.
_CHANGES: Final[Mapping[type, Callable[[Any, Random], Any]]] = MappingProxyType(
    {
        Enum: _another,
        bool: lambda value, _: not value,
        int: lambda _, chance: chance.choice(NUMBERS),
        float: lambda _, chance: chance.choice([0.0, -1.0, 1e18]),
        str: lambda value, chance: chance.choice([HOSTILE, "", value[::-1], f"{value}{HOSTILE}"]),
        datetime: lambda _, chance: chance.choice(DATES),
    }
)
