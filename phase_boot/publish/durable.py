"""Files that a crash leaves as they were or as they shall be, and never in between."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Final

from phase_boot.publish.errors import PublishError

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
PUBLIC_FOLDER: Final = 0o755
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder against everybody else who writes to it this way.

    Raises:
        PublishError: somebody has it, or the disk refuses; also for what happens inside.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(fd)
    except BlockingIOError:
        raise PublishError(f"Another publisher is writing to {folder}: wait for it.") from None
    except OSError as error:
        where = error.filename or folder
        raise PublishError(f"{where} cannot be used: {error.strerror}.") from error


def create(path: Path, data: bytes, mode: int) -> None:
    """Write a new file; raise FileExistsError rather than touch one that is there."""
    fd = os.open(path, _NEW, mode)
    try:
        _fill(fd, data, mode)
    except OSError:
        path.unlink()
        raise
    sync_folder(path.parent)


def replace(path: Path, data: bytes, mode: int) -> None:
    """Write ``path`` anew, all at once. Its folder must be ``held``."""
    # One name, so that what a crash left is cleared away by the next run.
    made = path.with_name(f".{path.name}.new")
    made.unlink(missing_ok=True)
    fd = os.open(made, _NEW, mode)
    try:
        _fill(fd, data, mode)
        made.replace(path)
    except OSError:
        with suppress(OSError):
            made.unlink()
        raise
    sync_folder(path.parent)


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it, each readable by a web server whatever the umask is.

    Returns those that were made, the innermost first. Folders that exist keep their modes.
    """
    new = list(takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    for each in reversed(new):
        each.mkdir(exist_ok=True)
        each.chmod(PUBLIC_FOLDER)
    return new


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fill(fd: int, data: bytes, mode: int) -> None:
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(fd, mode)
        os.fsync(fd)
