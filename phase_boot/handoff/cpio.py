"""Writes cpio archives of the `newc` format, which the kernel unpacks (initramfs buffer format).

Equal entries give equal bytes: times are zero, owners are root, inodes are counted.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

ALIGNMENT: Final = 4
MAX_FILE: Final = 2**32 - 1
"""Bytes: the size field has eight hexadecimal digits."""
TRAILER: Final = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder, symbolic link or device node of an archive."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)

    @classmethod
    def file(cls, name: str, data: bytes, *, mode: int = 0o644) -> Self:
        """Return a regular file."""
        return cls(name, stat.S_IFREG | mode, data)

    @classmethod
    def folder(cls, name: str, *, mode: int = 0o755) -> Self:
        """Return a folder; parents must come first."""
        return cls(name, stat.S_IFDIR | mode)

    @classmethod
    def link(cls, name: str, target: str) -> Self:
        """Return a symbolic link to ``target``."""
        return cls(name, stat.S_IFLNK | 0o777, target.encode())

    @classmethod
    def char_device(cls, name: str, major: int, minor: int, *, mode: int = 0o600) -> Self:
        """Return a character device node."""
        return cls(name, stat.S_IFCHR | mode, b"", (major, minor))


def padding(size: int) -> bytes:
    """Return the zero bytes that align ``size`` bytes to the next entry."""
    return bytes(-size % ALIGNMENT)


def head(entry: Entry, *, size: int, inode: int = 0) -> bytes:
    """Return the header and name of ``entry``, for data of ``size`` bytes that follow it.

    Raises:
        ValueError: the file is larger than the format's size field.
    """
    if size > MAX_FILE:
        raise ValueError(f"{entry.name}: a cpio archive holds files of at most {MAX_FILE} bytes")
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # magic, then: ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor
    # namesize check
    numbers = (inode, entry.mode, 0, 0, links, 0, size, 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return header + name + padding(len(header) + len(name))


def archive(entries: Iterable[Entry], *, end: bool = True) -> bytes:
    """Return an archive of ``entries`` in the given order, with a trailer if ``end``."""
    parts: list[bytes] = []
    for inode, entry in enumerate(entries, start=1):
        size = len(entry.data)
        parts += [head(entry, size=size, inode=inode), entry.data, padding(size)]
    if end:
        parts.append(head(Entry(TRAILER, 0), size=0))
    return b"".join(parts)
