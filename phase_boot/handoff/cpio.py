"""The archive format of an initramfs: "newc" cpio, written the same way every time.

The layout is Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. Inode
numbers count from one, times are zero and every owner is root, so equal entries give equal
bytes.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAGIC = "070701"
TRAILER = "TRAILER!!!"
LARGEST = 0xFFFF_FFFF
"""The largest member in bytes: the size field has eight hexadecimal digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member: its name without a leading slash, its mode with the type bits, its bytes.

    For a symbolic link ``data`` is where it points. Devices carry ``major`` and ``minor``.
    """

    name: str
    mode: int
    data: bytes = b""
    major: int = 0
    minor: int = 0

    @staticmethod
    def directory(name: str, permissions: int = 0o755) -> Entry:
        """Return a directory."""
        return Entry(name=name, mode=stat.S_IFDIR | permissions)

    @staticmethod
    def file(name: str, data: bytes, permissions: int = 0o644) -> Entry:
        """Return a regular file."""
        return Entry(name=name, mode=stat.S_IFREG | permissions, data=data)

    @staticmethod
    def symlink(name: str, target: str) -> Entry:
        """Return a symbolic link to ``target``."""
        return Entry(name=name, mode=stat.S_IFLNK | 0o777, data=target.encode())

    @staticmethod
    def character(name: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
        """Return a character device."""
        mode = stat.S_IFCHR | permissions
        return Entry(name=name, mode=mode, major=major, minor=minor)


def header(entry: Entry, size: int, inode: int) -> bytes:
    """Return what stands before ``size`` bytes of data: the header, the name, the padding.

    For a member too large to hold in memory the caller writes the data and ``padding(size)``.

    Raises:
        ValueError: The name is empty, absolute or holds NUL, or the size does not fit.
    """
    if not entry.name or entry.name.startswith("/") or "\0" in entry.name:
        raise ValueError(f"{entry.name!r} cannot name a member: give a relative path")
    if size > LARGEST:
        raise ValueError(f"{entry.name} has {size} bytes; cpio ends at {LARGEST}")
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, size, 0, 0, entry.major, entry.minor, len(name), 0)
    head = MAGIC.encode() + b"".join(f"{field:08X}".encode() for field in fields) + name
    return head + padding(len(head))


def padding(size: int) -> bytes:
    """Return the zeros that bring ``size`` to the next multiple of four."""
    return bytes(-size % 4)


def trailer() -> bytes:
    """Return the end of an archive."""
    return header(Entry(name=TRAILER, mode=0), 0, 0)


def archive(entries: Iterable[Entry]) -> bytes:
    """Return the whole uncompressed archive, its members in the order given.

    Raises:
        ValueError: As `header`.
    """
    return b"".join(_pieces(entries))


def _pieces(entries: Iterable[Entry]) -> Iterator[bytes]:
    for inode, entry in enumerate(entries, start=1):
        yield header(entry, len(entry.data), inode)
        yield entry.data
        yield padding(len(entry.data))
    yield trailer()
