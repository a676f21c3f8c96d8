"""Opens the store in a folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.adapters.storage.posix_state_files import PosixStateFiles
from phase_boot.ports.storage import OpenStore
from phase_boot.store.content_store import ContentStore
from phase_boot.trust.rollback import TRUST_FOLDER

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - private folders are made in it


class FolderOpener:
    """Implements `ports.storage.StoreOpener` on a desktop: a folder, or one in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary: list[tempfile.TemporaryDirectory[str]] = []

    async def open(self, *, persistent: bool, bound: int) -> OpenStore:
        """Return the store in the folder, or in a temporary one that `release` removes."""
        if persistent:
            return store_in(self._folder, bound, persistent=True)
        temporary = tempfile.TemporaryDirectory(prefix="phase-boot-", dir=SHARED_MEMORY)
        self._temporary.append(temporary)
        return store_in(Path(temporary.name), bound, persistent=False)

    async def release(self) -> None:
        """Remove the temporary folders."""
        while self._temporary:
            self._temporary.pop().cleanup()


def store_in(folder: Path, bound: int, *, persistent: bool) -> OpenStore:
    """Return the store whose artifacts and state lie in ``folder``."""
    return open_store(folder / "cas", folder / TRUST_FOLDER, bound, persistent=persistent)


def open_store(
    cas: Path, state: Path, bound: int, *, persistent: bool, note: str | None = None
) -> OpenStore:
    """Return the store with its artifacts in ``cas`` and its state in ``state``."""
    return OpenStore(
        cas=ContentStore(PosixDisk(cas), bound=bound),
        state_files=PosixStateFiles(state),
        persistent=persistent,
        note=note,
    )
