"""Advisory exclusive locks (flock(2)).

The kernel releases a lock when the last descriptor of its open file is closed, so none is stale: it
ends with the process that holds it, and with the children that this one forked without executing a
program.
"""

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
    """The lock is held, by another process or through another descriptor of this one."""


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold the lock of a folder, which must exist, and yield its descriptor.

    Raises:
        Locked: it is held.
        OSError: the folder cannot be opened.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lock(fd, str(folder))
        yield fd
    finally:
        os.close(fd)


def lock(fd: int, name: str, *, seconds: float = 0.0) -> None:
    """Lock an open file or folder until it is closed.

    Args:
        fd: its descriptor.
        name: becomes the ``filename`` of ``Locked``.
        seconds: how long to wait for another holder.

    Raises:
        Locked: it is still held then.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
                continue
            raise Locked(errno.EAGAIN, "another process is writing to it", name) from None
        return
