"""Reader of GUID partition tables (UEFI Specification 2.10, section 5.3).

Linux before 6.13 shows the names of partitions and not their GUIDs. The content of a disk is not
trusted: a table with a wrong checksum has no partitions.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

Read = Callable[[int, int], bytes]
"""Takes a number of bytes and an offset; returns that many bytes or fewer."""

SECTOR_SIZES: Final = frozenset({512, 4096})
MAX_ENTRIES: Final = 256
_HEADER: Final = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY_SIZES: Final = frozenset({128, 256, 512})
_MAX_HEADER: Final = 512
_CRC_AT: Final = 16


def partition_guids(read: Read, sector: int) -> Mapping[int, str]:
    """Return the GUID in lower case of each partition by its number, from 1.

    It is empty where there is no GPT with right checksums at the start of the disk.

    Args:
        read: reads from the whole disk.
        sector: bytes of a logical sector.
    """
    entries, width = _entries(read, sector)
    rows = [entries[at : at + width] for at in range(0, len(entries), width or 1)]
    return {
        number: str(UUID(bytes_le=row[16:32]))
        for number, row in enumerate(rows, 1)
        if any(row[:16])
    }


def _entries(read: Read, sector: int) -> tuple[bytes, int]:
    """Return the table and the size of an entry; an empty table if it is invalid."""
    nothing = (b"", 0)
    raw = read(sector, _MAX_HEADER) if sector in SECTOR_SIZES else b""
    if len(raw) < _HEADER.size:
        return nothing
    magic, _revision, size, crc, _zero, *_places, start, count, width, table_crc = _HEADER.unpack(
        raw[: _HEADER.size]
    )
    if magic != b"EFI PART" or not _HEADER.size <= size <= len(raw):
        return nothing
    if zlib.crc32(raw[:_CRC_AT] + bytes(4) + raw[_CRC_AT + 4 : size]) != crc:
        return nothing
    if not 0 < count <= MAX_ENTRIES or width not in _ENTRY_SIZES or start > 2**32:
        return nothing
    table = read(start * sector, count * width)
    if len(table) != count * width or zlib.crc32(table) != table_crc:
        return nothing
    return table, width
