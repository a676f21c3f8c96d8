"""The notebook as a folder of a real filesystem."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from phase_boot.store.errors import DiskFailed, store_errors

# By malice a name may be a link, a pipe or a device: never follow, never hang.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DRAFT: Final = ".new"


class PosixStateFiles:
    """Implements `ports.state_files.StateFiles` in a folder, which the first write creates.

    No descriptor stays open between calls, so the filesystem can be unmounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, *, limit: int) -> bytes | None:
        """Return what a plain file holds, one byte more than ``limit`` at most, or None."""
        with store_errors(f"read {name}"):
            try:
                fd = _open(self._folder, name)
            except FileNotFoundError:
                return None
            with os.fdopen(fd, "rb") as file:
                return file.read(limit + 1)

    def write(self, name: str, data: bytes) -> None:
        """Write a draft, make it durable, and give it the name."""
        with store_errors(f"write {name}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            place = os.open(self._folder, _FOLDER)
            try:
                _write(place, name, data)
            finally:
                os.close(place)


def _open(folder: Path, name: str) -> int:
    """Return a descriptor of a plain file, reached through no link below the folder's parent."""
    place = os.open(folder, _FOLDER)
    try:
        fd = os.open(name, _READ, dir_fd=place)
    finally:
        os.close(place)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise DiskFailed(f"{name} is not a plain file.")
    return fd


def _write(place: int, name: str, data: bytes) -> None:
    draft = name + _DRAFT
    # What a crash left, or somebody planted; a folder of that name makes the open below fail.
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(draft, dir_fd=place)
    fd = os.open(draft, _FRESH, 0o600, dir_fd=place)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.rename(draft, name, src_dir_fd=place, dst_dir_fd=place)
    os.fsync(place)
