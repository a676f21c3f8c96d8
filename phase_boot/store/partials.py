"""Partial files: a few slots for each artifact, each with one writer at a time.

Several processes may download the same artifact. A slot that is in use is skipped, and a slot that
an ended writer left is continued.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import Busy, DiskFailed, StoreError

SLOTS: Final = 4
"""How many writers may write one artifact at once, each into its own partial file."""
STREAM: Final = ""
"""The infix in the name of a partial file that is appended to."""
CHUNKS: Final = "chunks."
"""The infix of one that has holes."""


def open_slot(disk: Disk, artifact: Artifact, infix: str) -> tuple[int, str]:
    """Open a partial file of an artifact that no other writer has; return it and its name.

    Raises:
        Busy: all slots are in use.
        StoreError: the disk failed.
    """
    for name in _slots(artifact, infix):
        with contextlib.suppress(Busy):
            fd = disk.open_partial(name)
            if os.fstat(fd).st_size <= artifact.size:
                return fd, name
            os.close(fd)
            disk.remove(Folder.PARTIALS, name)
            return disk.open_partial(name), name
    raise Busy(f"{artifact.name} is being written {SLOTS} times already: wait for one.")


def remove_leftovers(disk: Disk, artifact: Artifact) -> None:
    """Remove the partial files that ended writers left of an artifact that is complete."""
    for infix in (STREAM, CHUNKS):
        for name in _slots(artifact, infix):
            with contextlib.suppress(StoreError):
                disk.remove(Folder.PARTIALS, name)


def check_taken(taken: int, given: int) -> None:
    """Raise DiskFailed if a disk reports an impossible number of written bytes."""
    if not 0 < taken <= given:
        raise DiskFailed(
            f"The disk says that it took {taken} of {given} bytes, so use another one."
        )


def _slots(artifact: Artifact, infix: str) -> Iterator[str]:
    return (f"{artifact.digest.hex}.{infix}{slot}" for slot in range(SLOTS))
