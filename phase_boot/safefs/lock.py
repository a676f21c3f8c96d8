"""Advisory locks (flock(2)). The kernel releases them when their holder dies, so none is stale."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Locked(BlockingIOError):
    """Another process holds the lock."""


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold the exclusive lock of a folder and yield its descriptor.

    Args:
        folder: the folder that is locked; it must exist.
        wait: whether to wait for another holder instead of raising ``Locked``.

    Raises:
        Locked: another process holds it.
        OSError: the folder cannot be opened.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lock(fd, str(folder), wait=wait)
        yield fd
    finally:
        os.close(fd)


def lock(fd: int, name: str, *, wait: bool = False) -> None:
    """Lock an open file exclusively until it is closed.

    Raises:
        Locked: another process holds it; ``name`` becomes its ``filename``.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Locked(errno.EAGAIN, "another process is writing to it", name) from None
