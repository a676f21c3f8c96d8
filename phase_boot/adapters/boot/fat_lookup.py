"""Looking for a name at the root of a FAT filesystem, in its bytes, without mounting it.

Mounting costs two programs and four kernel modules; this costs two reads. It only ever says
that a name is surely not there. Whatever it does not understand, it is not sure of.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

Read = Callable[[int, int], bytes]
"""Returns so many bytes from an offset on, or fewer."""

_SECTOR: Final = 512
_SIZES: Final = frozenset({512, 1024, 2048, 4096})
_MAX_CLUSTER: Final = 64 * 1024
_ENTRY: Final = 32
_LONG_NAME: Final = 0x0F
_END, _DELETED = 0x00, 0xE5
_ONE_PIECE: Final = 13
"""Characters of a name that one entry holds."""


def certainly_lacks(read: Read, name: str) -> bool:
    """Tell whether the root of the filesystem that ``read`` reads has nothing called ``name``.

    Raises:
        ValueError: the name is too long to look for.
    """
    wanted = _piece_of(name)
    root = _first_of_root(read)
    for at in range(0, len(root) - _ENTRY + 1, _ENTRY):
        entry = root[at : at + _ENTRY]
        if entry[0] == _END:
            return True
        if entry[0] != _DELETED and entry[11] == _LONG_NAME and _text(entry) == wanted:
            return False
    # The folder goes on elsewhere, or this is no such filesystem.
    return False


def _piece_of(name: str) -> bytes:
    if not 0 < len(name) < _ONE_PIECE:
        raise ValueError(f"{name!r} does not fit into one entry")
    return (name + "\0").lower().encode("utf-16-le").ljust(2 * _ONE_PIECE, b"\xff")


def _text(entry: bytes) -> bytes:
    """Return the piece of a long name that an entry holds, in small letters."""
    return (entry[1:11] + entry[14:26] + entry[28:32]).lower()


def _first_of_root(read: Read) -> bytes:
    """Return the first cluster of the root of a FAT32 filesystem, or nothing."""
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
