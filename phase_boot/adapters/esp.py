"""The loader's partition of the stick, mounted for a moment at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

from phase_boot.adapters.fat_peek import surely_lacks
from phase_boot.adapters.programs import run

PARTITION: Final = "phase-esp"
DISK_MARK: Final = Path("/run/phase-boot/disk")
"""The kernel's name of the disk the seed was booted from; the initramfs writes it."""
MOUNT_POINT: Final = Path("/run/phase-boot/esp")
OPTIONS: Final = "nodev,nosuid,noexec,noatime,umask=0077"


class EspFailed(Exception):
    """The partition cannot be used; the text is a reason for a person."""


class Esp(Protocol):
    """A FAT filesystem that is there only while somebody looks."""

    def obstacle(self) -> str | None:
        """Return why nothing can be written to it, if that is known without trying."""

    def surely_lacks(self, name: str) -> bool:
        """Tell whether its root has nothing of that name, if that is sure without mounting it."""

    def mounted(
        self, *, writable: bool = False
    ) -> contextlib.AbstractAsyncContextManager[Path | None]:
        """Return a context in which it can be used, freshly read from the disk.

        It is None where there is no such partition.

        Raises:
            EspFailed: it cannot be mounted, or not be unmounted again.
        """


class StickEsp:
    """Implements `Esp` in the seed, on the stick we came from and never on another disk."""

    def __init__(self, *, root: Path = Path("/"), where: Path = MOUNT_POINT) -> None:
        self._root = root
        self._where = where

    def obstacle(self) -> str | None:
        """Ask the kernel about partition and disk."""
        device = partition(PARTITION, root=self._root)
        if device is None:
            return "this stick has no partition for the firmware's loader"
        mark = self._root / "sys/class/block" / Path(device).name / "ro"
        with contextlib.suppress(OSError):
            if mark.read_text().strip() == "1":
                return "the stick is write-protected"
        return None

    def surely_lacks(self, name: str) -> bool:
        """Look into the bytes of the partition."""
        device = partition(PARTITION, root=self._root)
        if device is None:
            return True
        try:
            fd = os.open(self._root / device.lstrip("/"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return surely_lacks(lambda offset, size: os.pread(fd, size, offset), name)
        except OSError:
            return False
        finally:
            os.close(fd)

    @contextlib.asynccontextmanager
    async def mounted(self, *, writable: bool = False) -> AsyncIterator[Path | None]:
        """Mount, and unmount: nothing of it stays in the caches of the kernel."""
        device = partition(PARTITION, root=self._root)
        if device is None:
            yield None
            return
        self._where.mkdir(parents=True, exist_ok=True)
        if self._where.is_mount():
            # A run before this one was killed; whether it could write is not known.
            await run("umount", str(self._where))
        options = f"{'rw' if writable else 'ro'},{OPTIONS}"
        failure = await run("mount", "-t", "vfat", "-o", options, device, str(self._where))
        if failure is not None:
            raise EspFailed(f"the loader's partition cannot be mounted: {failure}")
        try:
            yield self._where
        finally:
            failure = await run("umount", str(self._where))
        if failure is not None:
            raise EspFailed(f"the loader's partition cannot be unmounted: {failure}")


def partition(name: str, *, root: Path = Path("/")) -> str | None:
    """Return the device of the partition ``name`` on the disk that the seed was booted from."""
    try:
        disk = Path((root / DISK_MARK.relative_to("/")).read_text().strip()).name
        folders = sorted((root / "sys/class/block" / disk).iterdir()) if disk else []
    except OSError:
        return None
    for folder in folders:
        with contextlib.suppress(OSError):
            if f"PARTNAME={name}" in (folder / "uevent").read_text().splitlines():
                return f"/dev/{folder.name}"
    return None
