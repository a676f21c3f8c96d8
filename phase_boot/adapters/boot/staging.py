"""What is staged on the loader's partition: written, looked at again, and removed.

Everything here works below a folder that may have been prepared by somebody else: it goes through
no link, believes no size, and counts what it walks over.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.safefs.atomic import PRIVATE, replace_at, write_new
from phase_boot.safefs.beneath import folder_at, folder_beneath, open_regular

FOLDER: Final = "phase-staged"
"""All that is staged lies in it, but for the entry."""
ENTRIES: Final = ("loader", "entries")
STAGED_ENTRY: Final = re.compile(r"phase-staged-[0-9a-f]{16}\.conf(\.new)?", re.IGNORECASE)
MAX_REMOVED: Final = 1000
"""Names that are looked at when something is removed: we never leave more than four."""
PIECE: Final = 1024 * 1024
_MAX_DEPTH: Final = 4
_FOLDER_MODE: Final = 0o700


class StagingFailed(Exception):
    """The partition does not hold what was staged; the text is a reason for a person."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it was written: what reading it must come to."""

    path: tuple[str, ...]
    size: int
    sha256: str


class _Hashed:
    """Pieces of a file, hashed while they are written."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._digest = hashlib.sha256()
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            yield piece
            self._digest.update(piece)
            self._size += len(piece)

    def written(self, path: tuple[str, ...]) -> Written:
        """Return the record of the file."""
        return Written(path, self._size, self._digest.hexdigest())


def write(root: Path, path: tuple[str, ...], pieces: Iterable[bytes]) -> Written:
    """Write a new file and make it durable; raise OSError, also where one is there already."""
    # In place, as no loader entry names the file yet. The entry is written last, atomically.
    hashed = _Hashed(pieces)
    with _place(root, path[:-1], create=_FOLDER_MODE) as place:
        write_new(place, path[-1], hashed, PRIVATE)
        os.fsync(place)
    return hashed.written(path)


def write_entry(root: Path, name: str, text: str) -> Written:
    """Write an entry under another name first: the loader never sees half of it."""
    hashed = _Hashed([text.encode("ascii")])
    with _place(root, ENTRIES, create=_FOLDER_MODE) as place:
        replace_at(place, name, hashed, PRIVATE, temporary=f"{name}.new")
    return hashed.written((*ENTRIES, name))


def check(root: Path, written: Written) -> None:
    """Read a file back.

    Raises:
        StagingFailed: it is not there, or not what was written.
        OSError: it cannot be read.
    """
    name = "/".join(written.path)
    digest, left = hashlib.sha256(), written.size
    with (
        _place(root, written.path[:-1]) as place,
        os.fdopen(open_regular(written.path[-1], place), "rb") as file,
    ):
        if os.fstat(file.fileno()).st_size != written.size:
            raise StagingFailed(f"{name} on the stick has another size than was written")
        while left and (piece := file.read(min(PIECE, left))):
            digest.update(piece)
            left -= len(piece)
    if digest.hexdigest() != written.sha256:
        raise StagingFailed(f"{name} on the stick reads back other bytes than were written")


def room(root: Path) -> int:
    """Return how many bytes can still be written."""
    found = os.statvfs(root)
    return found.f_bavail * found.f_frsize


def is_staged(root: Path) -> bool:
    """Tell whether anything of ours is there; raise OSError if the partition cannot be read."""
    with _place(root, ()) as place:
        if FOLDER in _names(place):
            return True
    return bool(_entries(root))


def remove(root: Path) -> int:
    """Remove all that is ours, the entries first, and return how many files that were.

    Raises:
        StagingFailed: there is more than we ever leave.
        OSError: something cannot be removed.
    """
    count = _Count(MAX_REMOVED)
    names = _entries(root)
    if names:
        with _place(root, ENTRIES) as place:
            for name in names:
                _remove(place, name, count, 0)
            os.fsync(place)
    with _place(root, ()) as place:
        if FOLDER in _names(place):
            _remove(place, FOLDER, count, 0)
        os.fsync(place)
    return count.files


@dataclass(slots=True)
class _Count:
    """How much may still be walked over."""

    left: int
    files: int = 0

    def one(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise StagingFailed(f"{FOLDER} on the stick holds more than we ever put there")


def _remove(place: int, name: str, count: _Count, depth: int) -> None:
    count.one()
    if not stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=place)
        count.files += 1
        return
    if depth == _MAX_DEPTH:
        raise StagingFailed(f"{FOLDER} on the stick is deeper than we ever made it")
    with folder_at(place, name) as inner:
        for each in _names(inner):
            _remove(inner, each, count, depth + 1)
    os.rmdir(name, dir_fd=place)


def _entries(root: Path) -> list[str]:
    try:
        with _place(root, ENTRIES) as place:
            return [name for name in _names(place) if STAGED_ENTRY.fullmatch(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _names(place: int) -> list[str]:
    """Return the names in a folder, the first of them where there are too many."""
    names = []
    with os.scandir(place) as found:
        for entry in found:
            names.append(entry.name)
            if len(names) > MAX_REMOVED:
                break
    return names


def _place(
    root: Path, path: tuple[str, ...], *, create: int | None = None
) -> AbstractContextManager[int]:
    """Open a folder of the partition through no link, the mount point included."""
    return folder_beneath(root, path, follow_root=False, create=create)
