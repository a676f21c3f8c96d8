"""Opening files below a folder whose content is untrusted.

A disk may have been prepared by an attacker, so a name may be a symbolic link, a FIFO or a device.
Each component is opened with openat(2) and O_NOFOLLOW, relative to the descriptor of the folder
before it. So neither a planted link nor a folder that is exchanged meanwhile leads elsewhere.
openat2(2) with RESOLVE_BENEATH would do the same in one call, but Python does not wrap it, and a
kernel or seccomp filter without it would need this walk as well.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Final

UNTRUSTED: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Flags for a name that may be anything: no link is followed, and a FIFO does not block."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def folder_beneath(
    root: Path, parts: Sequence[str] = (), *, follow_root: bool = True, create: int | None = None
) -> Iterator[int]:
    """Open the folder ``parts`` below ``root`` and yield its descriptor.

    Args:
        root: the folder to start from.
        parts: the components below it; none of them is followed if it is a link.
        follow_root: whether the last component of ``root`` itself may be a link.
        create: the mode with which missing components are created; each name is flushed.

    Raises:
        OSError: a component is missing, a link or no folder, or is not a plain name.
    """
    folder_fd = os.open(root, _FOLDER if follow_root else _FOLDER | os.O_NOFOLLOW)
    try:
        for name in parts:
            check_name(name)
            if create is not None:
                _make_folder(name, create, folder_fd)
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder_fd)
            os.close(folder_fd)
            folder_fd = inner
        yield folder_fd
    finally:
        os.close(folder_fd)


@contextmanager
def folder_at(folder_fd: int, name: str) -> Iterator[int]:
    """Open the folder ``name`` of the folder ``folder_fd`` and yield its descriptor.

    Raises:
        OSError: it is missing, a link, no folder, or not a plain name.
    """
    check_name(name)
    fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def open_regular(name: str, folder_fd: int) -> int:
    """Open a regular file of the folder ``folder_fd`` for reading and return its descriptor.

    The type is looked up before the open, because opening a device may act on it, and again after.

    Raises:
        OSError: it is missing, a link, of another type, or not a plain name.
    """
    check_name(name)
    _check_regular(os.stat(name, dir_fd=folder_fd, follow_symlinks=False), name)
    fd = os.open(name, os.O_RDONLY | UNTRUSTED, dir_fd=folder_fd)
    try:
        _check_regular(os.fstat(fd), name)
    except OSError:
        os.close(fd)
        raise
    return fd


def open_beneath(root: Path, path: str, *, follow_root: bool = True) -> BufferedReader:
    """Open the regular file ``path`` below ``root`` for reading.

    Raises:
        OSError: it is missing or of another type, or a component is a link or not a plain name.
    """
    *folders, name = path.split("/")
    with folder_beneath(root, folders, follow_root=follow_root) as folder_fd:
        return os.fdopen(open_regular(name, folder_fd), "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """Return at most ``limit`` + 1 bytes of a regular file; links are followed.

    Use it for paths that the operator names. It does not block on a FIFO.

    Raises:
        OSError: it cannot be read, or is of another type.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _check_regular(os.fstat(fd), str(path))
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(limit + 1)
    finally:
        os.close(fd)


def check_name(name: str) -> None:
    """Check that a component is a name in its folder.

    Raises:
        OSError: it is empty, ``.`` or ``..``, or has a slash or NUL in it.
    """
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise OSError(errno.EINVAL, "it is not a plain file name", name)


def is_regular(name: str, folder_fd: int) -> bool:
    """Return whether a name of the folder ``folder_fd`` is a regular file, without opening it."""
    return stat.S_ISREG(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode)


def _check_regular(found: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file", name)


def _make_folder(name: str, mode: int, folder_fd: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=folder_fd)
        os.fsync(folder_fd)
