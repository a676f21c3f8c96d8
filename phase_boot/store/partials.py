"""Partial files: a few for each artifact, each written by one writer at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import Busy, DiskFailed, StoreError

SLOTS: Final = 4
"""How many may write one artifact at once, each into a partial file of its own."""
STREAM: Final = ""
"""The mark of partial files that grow at their end."""
CHUNKS: Final = "chunks."
"""The mark of those that have holes."""


def open_slot(disk: Disk, artifact: Artifact, mark: str) -> tuple[int, str]:
    """Return a partial file of an artifact that nobody else is writing, and its name.

    Raises:
        Busy: all of them are being written.
        StoreError: the disk failed.
    """
    for name in _slots(artifact, mark):
        with contextlib.suppress(Busy):
            fd = disk.open_partial(name)
            if os.fstat(fd).st_size <= artifact.size:
                return fd, name
            os.close(fd)
            disk.remove(Folder.PARTIALS, name)
            return disk.open_partial(name), name
    raise Busy(f"{artifact.name} is being written {SLOTS} times already: wait for one.")


def remove_leftovers(disk: Disk, artifact: Artifact) -> None:
    """Remove what ended writers left of an artifact that is whole now."""
    for mark in (STREAM, CHUNKS):
        for name in _slots(artifact, mark):
            with contextlib.suppress(StoreError):
                disk.remove(Folder.PARTIALS, name)


def check_taken(taken: int, given: int) -> None:
    """Refuse what a disk says that cannot be; raise DiskFailed."""
    if not 0 < taken <= given:
        raise DiskFailed(
            f"The disk says that it took {taken} of {given} bytes, so use another one."
        )


def _slots(artifact: Artifact, mark: str) -> Iterator[str]:
    return (f"{artifact.digest.hex}.{mark}{slot}" for slot in range(SLOTS))
