"""Reading the needed libraries of an ELF file (System V gABI, chapter 5)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

MAGIC: Final = b"\x7fELF\x02\x01"
"""64 bits, little endian: both architectures."""
PT_LOAD: Final = 1
PT_DYNAMIC: Final = 2
DT_NEEDED: Final = 1
DT_STRTAB: Final = 5


class Segment(NamedTuple):
    """The used fields of a program header."""

    kind: int
    offset: int
    address: int
    size: int


def is_elf(path: Path) -> bool:
    """Return whether ``path`` is a 64-bit little-endian ELF file."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def needed_libraries(path: Path) -> tuple[str, ...]:
    """Return the names of the libraries that ``path`` needs, in the order of the file.

    A static program needs none. A file that is not ELF raises ValueError.
    """
    data = path.read_bytes()
    if not data.startswith(MAGIC):
        raise ValueError(f"{path} is not a 64-bit little-endian ELF file")
    segments = _segments(data)
    dynamic = next((s for s in segments if s.kind == PT_DYNAMIC), None)
    if dynamic is None:
        return ()
    entries = list(struct.iter_unpack("<QQ", data[dynamic.offset :][: dynamic.size]))
    strings = next((_offset(segments, value) for tag, value in entries if tag == DT_STRTAB), 0)
    return tuple(_string(data, strings + value) for tag, value in entries if tag == DT_NEEDED)


def _segments(data: bytes) -> tuple[Segment, ...]:
    start = struct.unpack_from("<Q", data, 32)[0]
    size, count = struct.unpack_from("<HH", data, 54)
    return tuple(_segment(data, start + size * index) for index in range(count))


def _segment(data: bytes, at: int) -> Segment:
    kind, _flags, offset, address, _physical, size = struct.unpack_from("<IIQQQQ", data, at)
    return Segment(kind, offset, address, size)


def _offset(segments: tuple[Segment, ...], address: int) -> int:
    for segment in segments:
        if segment.kind == PT_LOAD and 0 <= address - segment.address < segment.size:
            return address - segment.address + segment.offset
    raise ValueError(f"address {address:#x} is in no segment of the file")


def _string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()
