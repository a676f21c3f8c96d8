"""The disk as the store needs it: four folders of plain files, on a medium that can fail.

``PosixDisk`` is the real one. Descriptors are passed around instead of names, so that the file that
was hashed is the file that is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Annotated, Final, Protocol, TypeAlias

OPEN_FILE: Final = "an open file"
Descriptor: TypeAlias = Annotated[int, OPEN_FILE]
"""A file descriptor; the caller that receives it closes it."""


@unique
class Folder(StrEnum):
    """The state of a file; the value is the name of its folder on the disk."""

    ENTRIES = "sha256"
    PARTIALS = "tmp"
    CORRUPT = "corrupt"
    INDEXES = "dag"
    """The DAG nodes over the chunks of an entry, in a CAR file."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file: its size in bytes, and its last write or open in ns since 1970."""

    folder: Folder
    name: str
    size: int
    used: int


class PartialFiles(Protocol):
    """The life of a partial file up to its publication.

    Raises:
        NotStored: there is no such file.
        NoSpace: no room is left.
        ReadOnly: the disk takes no changes.
        Busy: the file is open elsewhere.
        DiskFailed: the disk failed otherwise.
    """

    def open_partial(self, name: str) -> Descriptor:
        """Open a partial file, created if necessary, positioned at its end.

        One caller at a time has the file: ``Busy`` while another one has it open.
        """

    def write(self, fd: int, data: memoryview) -> int:
        """Append ``data`` to a partial file and return how many bytes were written."""

    def reserve(self, fd: int, size: int) -> None:
        """Extend a partial file to ``size`` bytes and allocate the space, where that is supported.

        A part that was never written is a hole for ``os.SEEK_DATA``, or reads as zeros.
        """

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        """Write ``data`` at ``offset`` of a partial file and return how many bytes were written."""

    def copy(self, start: int, source: int, length: int, fd: int, offset: int) -> int:
        """Copy bytes from ``start`` of the open file ``source`` to ``offset`` of a partial file.

        Return how many were copied, at most ``length``; 0 at the end of the source. Where the
        filesystem supports it, both files then share the blocks.
        """

    def publish(self, fd: int, name: str, entry: str, folder: Folder = Folder.ENTRIES) -> None:
        """Make the partial file ``name``, open as ``fd``, the entry ``entry``.

        Durable and atomic: after a crash at any moment there is the whole entry or none.
        """


class Disk(PartialFiles, Protocol):
    """The files in all folders.

    Raises:
        NotStored: there is no such file.
        NoSpace: no room is left.
        ReadOnly: the disk takes no changes.
        Busy: the file is open elsewhere.
        DiskFailed: the disk failed otherwise.
    """

    def items(self, folder: Folder) -> tuple[FileInfo, ...]:
        """List a folder; a folder that does not exist yet is empty."""

    def open(self, folder: Folder, name: str) -> Descriptor:
        """Open a plain file to read, never through a link, and record the time of the use.

        While it is open, ``remove`` of the same file is ``Busy``.
        """

    def quarantine(self, name: str) -> None:
        """Move the entry ``name``, of whatever file type, to the corrupt ones."""

    def remove(self, folder: Folder, name: str) -> None:
        """Remove a file, of whatever file type; ``Busy`` while it is open."""

    def free_space(self) -> int:
        """Return how many bytes can still be written."""
