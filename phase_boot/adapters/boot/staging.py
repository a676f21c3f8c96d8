"""Writes, verifies and removes staged files on the ESP.

An attacker may have prepared the filesystem: no symbolic link is followed, no stored size is
trusted, and the number of visited files is limited.
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
"""Folder of all staged files, except for the boot loader entry."""
ENTRIES: Final = ("loader", "entries")
STAGED_ENTRY: Final = re.compile(r"phase-staged-[0-9a-f]{16}\.conf(\.new)?", re.IGNORECASE)
MAX_REMOVED: Final = 1000
"""Names that a removal visits, at most; Phase Boot itself leaves four or fewer."""
PIECE: Final = 1024 * 1024
_MAX_DEPTH: Final = 4
_FOLDER_MODE: Final = 0o700


class StagingFailed(Exception):
    """The ESP does not have the staged content; ``str`` is the reason."""


@dataclass(frozen=True, slots=True)
class Written:
    """A written file: the size and digest that reading it must give."""

    path: tuple[str, ...]
    size: int
    sha256: str


class _Hashed:
    """Buffers of a file, hashed while they are written."""

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
    """Write a new file durably; raise OSError if it fails or the file exists."""
    # No atomic write is needed: no entry names the file yet. The entry is written last, atomically.
    hashed = _Hashed(pieces)
    with _open_folder(root, path[:-1], create=_FOLDER_MODE) as folder_fd:
        write_new(folder_fd, path[-1], hashed, PRIVATE)
        os.fsync(folder_fd)
    return hashed.written(path)


def write_entry(root: Path, name: str, text: str) -> Written:
    """Write an entry atomically, so that the loader never reads a partial one."""
    hashed = _Hashed([text.encode("ascii")])
    with _open_folder(root, ENTRIES, create=_FOLDER_MODE) as folder_fd:
        replace_at(folder_fd, name, hashed, PRIVATE, temporary=f"{name}.new")
    return hashed.written((*ENTRIES, name))


def check(root: Path, written: Written) -> None:
    """Read a file back.

    Raises:
        StagingFailed: the file is missing or has other content.
        OSError: the file cannot be read.
    """
    name = "/".join(written.path)
    digest, left = hashlib.sha256(), written.size
    with (
        _open_folder(root, written.path[:-1]) as folder_fd,
        os.fdopen(open_regular(written.path[-1], folder_fd), "rb") as file,
    ):
        if os.fstat(file.fileno()).st_size != written.size:
            raise StagingFailed(f"{name} on the stick has another size than was written")
        while left and (piece := file.read(min(PIECE, left))):
            digest.update(piece)
            left -= len(piece)
    if digest.hexdigest() != written.sha256:
        raise StagingFailed(f"{name} on the stick reads back other bytes than were written")


def free_space(root: Path) -> int:
    """Return the free space in bytes."""
    entries = os.statvfs(root)
    return entries.f_bavail * entries.f_frsize


def is_staged(root: Path) -> bool:
    """Return whether staged files exist; raise OSError if the ESP cannot be read."""
    with _open_folder(root, ()) as folder_fd:
        if FOLDER in _names(folder_fd):
            return True
    return bool(_entries(root))


def remove(root: Path) -> int:
    """Remove all staged files, entries first; return their number.

    Raises:
        StagingFailed: there are more files than Phase Boot ever stages.
        OSError: a file cannot be removed.
    """
    count = _Count(MAX_REMOVED)
    names = _entries(root)
    if names:
        with _open_folder(root, ENTRIES) as folder_fd:
            for name in names:
                _remove(folder_fd, name, count, 0)
            os.fsync(folder_fd)
    with _open_folder(root, ()) as folder_fd:
        if FOLDER in _names(folder_fd):
            _remove(folder_fd, FOLDER, count, 0)
        os.fsync(folder_fd)
    return count.files


@dataclass(slots=True)
class _Count:
    """Number of names that a removal may still visit."""

    left: int
    files: int = 0

    def one(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise StagingFailed(f"{FOLDER} on the stick has more files than Phase Boot stages")


def _remove(folder_fd: int, name: str, count: _Count, depth: int) -> None:
    count.one()
    if not stat.S_ISDIR(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=folder_fd)
        count.files += 1
        return
    if depth == _MAX_DEPTH:
        raise StagingFailed(f"{FOLDER} on the stick has deeper folders than Phase Boot makes")
    with folder_at(folder_fd, name) as inner:
        for each in _names(inner):
            _remove(inner, each, count, depth + 1)
    os.rmdir(name, dir_fd=folder_fd)


def _entries(root: Path) -> list[str]:
    try:
        with _open_folder(root, ENTRIES) as folder_fd:
            return [name for name in _names(folder_fd) if STAGED_ENTRY.fullmatch(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _names(folder_fd: int) -> list[str]:
    """Return the names in a folder, up to the limit."""
    names = []
    with os.scandir(folder_fd) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > MAX_REMOVED:
                break
    return names


def _open_folder(
    root: Path, path: tuple[str, ...], *, create: int | None = None
) -> AbstractContextManager[int]:
    """Open a folder of the ESP without following links, not even at the mount point."""
    return folder_beneath(root, path, follow_root=False, create=create)
