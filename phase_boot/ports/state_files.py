"""Port of the state files: small files beside the artifacts that outlive a boot."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class StateFiles(Protocol):
    """Files by name. A name has no directory."""

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other processes out of the block, so that what it reads stays true until it writes.

        Raises:
            StoreError: another process does not leave its block in time, or the disk failed.
        """

    def read(self, name: str, *, limit: int) -> bytes | None:
        """Return at most ``limit + 1`` bytes of a file, or None if there is no such file.

        A result longer than ``limit`` means that the file is too long.

        Raises:
            StoreError: the file exists and cannot be read.
        """

    def write(self, name: str, data: bytes) -> None:
        """Replace a file durably and atomically: after a crash it is the old one or the new one.

        Raises:
            StoreError: the disk failed; the old file is unchanged.
        """
