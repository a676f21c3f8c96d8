"""Keeps state files in a folder, whose content an attacker may have prepared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from phase_boot.safefs.atomic import PRIVATE, replace_at
from phase_boot.safefs.beneath import folder_beneath, open_beneath
from phase_boot.safefs.lock import lock
from phase_boot.store.errors import store_errors

WAIT_SECONDS: Final = 10.0
"""Time to wait for another process; it holds the lock for one read and one write."""


class PosixStateFiles:
    """Implements `ports.state_files.StateFiles` in a folder, which the first write creates.

    No descriptor stays open between calls, so the filesystem can be unmounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock of the folder; wait at most `WAIT_SECONDS` for it."""
        with store_errors("lock the state files"):
            self._folder.mkdir(parents=True, exist_ok=True)
            with folder_beneath(self._folder, follow_root=False) as folder_fd:
                lock(folder_fd, str(self._folder), seconds=WAIT_SECONDS)
                yield

    def read(self, name: str, *, limit: int) -> bytes | None:
        """Return the content of a regular file, at most ``limit`` bytes and one more, or None."""
        with store_errors(f"read {name}"):
            try:
                with open_beneath(self._folder, name, follow_root=False) as file:
                    return file.read(limit + 1)
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically and durably."""
        with store_errors(f"write {name}"):
            self._folder.mkdir(parents=True, exist_ok=True)
            with folder_beneath(self._folder, follow_root=False) as folder_fd:
                replace_at(folder_fd, name, [data], PRIVATE, temporary=f"{name}.new")
