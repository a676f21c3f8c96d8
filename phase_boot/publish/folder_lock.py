"""The lock by which one publisher at a time writes to a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phase_boot.publish.errors import PublishError
from phase_boot.safefs import lock


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of a folder, and raise a disk failure of the block as PublishError.

    Raises:
        PublishError: another publisher holds the lock, or the disk fails.
    """
    try:
        with lock.locked(folder):
            yield
    except lock.Locked as busy:
        where = busy.filename or folder
        raise PublishError(f"Another publisher is writing to {where}: wait for it.") from None
    except OSError as error:
        where = error.filename or folder
        raise PublishError(f"{where} cannot be used: {error.strerror}.") from error
