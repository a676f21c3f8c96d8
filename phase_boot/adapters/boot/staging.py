"""What is staged on the loader's partition: written, looked at again, and removed.

Everything here works below a folder that may have been prepared by somebody else: it goes through
no link, believes no size, and counts what it walks over.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = "phase-staged"
"""All that is staged lies in it, but for the entry."""
ENTRIES: Final = ("loader", "entries")
STAGED_ENTRY: Final = re.compile(r"phase-staged-[0-9a-f]{16}\.conf(\.new)?", re.IGNORECASE)
MAX_REMOVED: Final = 1000
"""Names that are looked at when something is removed: we never leave more than four."""
PIECE: Final = 1024 * 1024
_MAX_DEPTH: Final = 4
_PLACE: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StagingFailed(Exception):
    """The partition does not hold what was staged; the text is a reason for a person."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file as it was written: what reading it must come to."""

    path: tuple[str, ...]
    size: int
    sha256: str


def write(root: Path, path: tuple[str, ...], pieces: Iterable[bytes]) -> Written:
    """Write a new file and make it durable; raise OSError, also where one is there already."""
    digest, size = hashlib.sha256(), 0
    with _place(root, path[:-1], create=True) as place:
        with os.fdopen(os.open(path[-1], _FRESH, 0o600, dir_fd=place), "wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(file.fileno())
        os.fsync(place)
    return Written(path, size, digest.hexdigest())


def write_entry(root: Path, name: str, text: str) -> Written:
    """Write an entry under another name first: the loader never sees half of it."""
    draft = write(root, (*ENTRIES, f"{name}.new"), [text.encode("ascii")])
    with _place(root, ENTRIES) as place:
        os.rename(f"{name}.new", name, src_dir_fd=place, dst_dir_fd=place)
        os.fsync(place)
    return Written((*ENTRIES, name), draft.size, draft.sha256)


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
        os.fdopen(os.open(written.path[-1], _READ, dir_fd=place), "rb") as file,
    ):
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_size != written.size:
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
    inner = os.open(name, _PLACE, dir_fd=place)
    try:
        for each in _names(inner):
            _remove(inner, each, count, depth + 1)
    finally:
        os.close(inner)
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


@contextlib.contextmanager
def _place(root: Path, path: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
    """Open a folder, step by step and through no link."""
    place = os.open(root, _PLACE)
    try:
        for name in path:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=place)
            inner = os.open(name, _PLACE, dir_fd=place)
            os.close(place)
            place = inner
        yield place
    finally:
        os.close(place)
