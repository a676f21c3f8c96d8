"""Keeps state files in a folder, whose content an attacker may have prepared."""

from __future__ import annotations

from pathlib import Path

from phase_boot.safefs.atomic import PRIVATE, replace_at
from phase_boot.safefs.beneath import folder_beneath, open_beneath
from phase_boot.store.errors import store_errors


class PosixStateFiles:
    """Implements `ports.state_files.StateFiles` in a folder, which the first write creates.

    No descriptor stays open between calls, so the filesystem can be unmounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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
