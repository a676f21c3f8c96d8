"""Looks up a name in the root folder of a FAT32 filesystem without mounting it.

Mounting runs two programs and loads four kernel modules; this needs two reads. The lookup only
proves that a name is missing; anything it does not understand gives no proof.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` returns up to ``length`` bytes."""

_SECTOR: Final = 512
_SIZES: Final = frozenset({512, 1024, 2048, 4096})
_MAX_CLUSTER: Final = 64 * 1024
_ENTRY: Final = 32
_LONG_NAME: Final = 0x0F
_END, _DELETED = 0x00, 0xE5
_ONE_PIECE: Final = 13
"""Characters of a long name in one directory entry."""


def certainly_lacks(read: Read, name: str) -> bool:
    """Return whether the root folder surely lacks ``name``.

    Raises:
        ValueError: the name does not fit into one directory entry.
    """
    wanted = _piece_of(name)
    root = _first_of_root(read)
    for at in range(0, len(root) - _ENTRY + 1, _ENTRY):
        entry = root[at : at + _ENTRY]
        if entry[0] == _END:
            return True
        if entry[0] != _DELETED and entry[11] == _LONG_NAME and _text(entry) == wanted:
            return False
    # The folder continues in another cluster, or this is not FAT32.
    return False


def _piece_of(name: str) -> bytes:
    if not 0 < len(name) < _ONE_PIECE:
        raise ValueError(f"{name!r} does not fit into one entry")
    return (name + "\0").lower().encode("utf-16-le").ljust(2 * _ONE_PIECE, b"\xff")


def _text(entry: bytes) -> bytes:
    """Return the characters of a long name in a directory entry, in lower case."""
    return (entry[1:11] + entry[14:26] + entry[28:32]).lower()


def _first_of_root(read: Read) -> bytes:
    """Return the first cluster of the root folder; empty if this is not FAT32."""
    head = read(0, _SECTOR)
    if len(head) < _SECTOR or head[510:] != b"\x55\xaa" or head[82:90] != b"FAT32   ":
        return b""
    size, per_cluster, reserved, tables = struct.unpack_from("<HBHB", head, 11)
    (table,) = struct.unpack_from("<I", head, 36)
    (first,) = struct.unpack_from("<I", head, 44)
    cluster = size * per_cluster
    if size not in _SIZES or not 0 < cluster <= _MAX_CLUSTER or first < 2:  # noqa: PLR2004 - FAT
        return b""
    start = (reserved + tables * table) * size + (first - 2) * cluster
    return read(start, cluster)
