"""Advisory locks (flock(2)). The kernel releases them when their holder dies, so none is stale."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PAUSE_SECONDS: Final = 0.02


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


def lock(fd: int, name: str, *, wait: bool = False, seconds: float = 0.0) -> None:
    """Lock an open file or folder exclusively until it is closed.

    Args:
        fd: its descriptor.
        name: becomes the ``filename`` of ``Locked``.
        wait: whether to wait for another holder without a limit.
        seconds: how long to wait for another holder otherwise.

    Raises:
        Locked: another process holds it.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
                continue
            raise Locked(errno.EAGAIN, "another process is writing to it", name) from None
        return
