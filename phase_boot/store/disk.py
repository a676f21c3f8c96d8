"""The port of the store: a few folders of flat files on something that can fail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Annotated, Final, Protocol, TypeAlias

OPEN_FILE: Final = "an open file"
Descriptor: TypeAlias = Annotated[int, OPEN_FILE]
"""It belongs to whoever gets it, who closes it."""


@unique
class Folder(StrEnum):
    """Where a file stands in its life; the value is the folder's name on the disk."""

    ENTRIES = "sha256"
    PARTIALS = "tmp"
    CORRUPT = "corrupt"
    INDEXES = "dag"
    """What the entries are made of: the nodes over the chunks of each that has any."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file: its size in bytes, and when it was last written or opened, in ns since 1970."""

    folder: Folder
    name: str
    size: int
    used: int


class PartialFiles(Protocol):
    """The life of a file up to its publication.

    Raises:
        NotStored: there is no such file.
        NoSpace: no room is left.
        ReadOnly: the disk takes no changes.
        Busy: somebody else has it open.
        DiskFailed: the disk refuses in any other way.
    """

    def open_partial(self, name: str) -> Descriptor:
        """Return a descriptor of a partial file, created if need be, positioned at its end.

        No two callers ever get the same file: ``Busy`` while another one has it open.
        """

    def write(self, fd: int, data: memoryview) -> int:
        """Append ``data`` to a growing file and return how many bytes were taken."""

    def reserve(self, fd: int, size: int) -> None:
        """Make a growing file ``size`` bytes long and set the room aside, where that can be done.

        What was never written is not listed by ``os.SEEK_DATA``, or reads as zeros.
        """

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        """Put ``data`` into a growing file at ``offset`` and return how many bytes were taken."""

    def copy(self, start: int, source: int, length: int, fd: int, offset: int) -> int:
        """Put bytes from ``start`` on of the open file ``source`` into a growing one at ``offset``.

        Return how many were taken, at most ``length``; 0 where the source has no more. Where the
        filesystem can, both files share them from then on.
        """

    def publish(self, fd: int, name: str, entry: str, folder: Folder = Folder.ENTRIES) -> None:
        """Make the partial file ``name``, open as ``fd``, the entry ``entry``.

        Durable and atomic: after a crash at any time there is the whole entry or none.
        """


class Disk(PartialFiles, Protocol):
    """Three folders of files.

    Raises:
        NotStored: there is no such file.
        NoSpace: no room is left.
        ReadOnly: the disk takes no changes.
        Busy: somebody else has it open.
        DiskFailed: the disk refuses in any other way.
    """

    def items(self, folder: Folder) -> tuple[FileInfo, ...]:
        """List a folder; one that does not exist yet is empty."""

    def open(self, folder: Folder, name: str) -> Descriptor:
        """Return a read-only descriptor of a plain file, never through a link; counts as a use.

        While it is open, ``remove`` of the same file is ``Busy``.
        """

    def quarantine(self, name: str) -> None:
        """Move the entry ``name``, whatever it is, among the corrupt ones."""

    def remove(self, folder: Folder, name: str) -> None:
        """Remove a file, whatever it is, unless somebody has it open."""

    def free_space(self) -> int:
        """Return how many bytes can still be written."""
