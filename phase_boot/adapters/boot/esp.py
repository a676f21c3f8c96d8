"""The loader's partition of the stick, mounted for a moment at a time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

from phase_boot.adapters.boot.boot_disk import BootDisk
from phase_boot.adapters.boot.fat_lookup import certainly_lacks
from phase_boot.adapters.system.programs import run
from phase_boot.firmware.boot_disk import NotCertain

PARTITION: Final = "phase-esp"
MOUNT_POINT: Final = Path("/run/phase-boot/esp")
OPTIONS: Final = "nodev,nosuid,noexec,noatime,umask=0077"


class EspFailed(Exception):
    """The partition cannot be used; the text is a reason for a person."""


class Esp(Protocol):
    """A FAT filesystem that is there only while somebody looks."""

    def obstacle(self) -> str | None:
        """Return why nothing can be written to it, if that is known without trying."""

    def certainly_lacks(self, name: str) -> bool:
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
    """Implements `Esp` in the seed, on the disk that was booted and never on another one."""

    def __init__(
        self, disk: BootDisk, *, root: Path = Path("/"), where: Path = MOUNT_POINT
    ) -> None:
        self._disk = disk
        self._root = root
        self._where = where

    def obstacle(self) -> str | None:
        """Ask the kernel about partition and disk."""
        try:
            device = self._device()
        except NotCertain as reason:
            return str(reason)
        if device is None:
            return "this stick has no partition for the firmware's loader"
        mark = self._root / "sys/class/block" / Path(device).name / "ro"
        with contextlib.suppress(OSError):
            if mark.read_text().strip() == "1":
                return "the stick is write-protected"
        return None

    def certainly_lacks(self, name: str) -> bool:
        """Look into the bytes of the partition."""
        try:
            device = self._device()
        except NotCertain:
            # Nothing is written to a partition that is not certain, so nothing is cleared there.
            return True
        if device is None:
            return True
        try:
            fd = os.open(self._root / device.lstrip("/"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return certainly_lacks(lambda offset, size: os.pread(fd, size, offset), name)
        except OSError:
            return False
        finally:
            os.close(fd)

    @contextlib.asynccontextmanager
    async def mounted(self, *, writable: bool = False) -> AsyncIterator[Path | None]:
        """Mount, and unmount: nothing of it stays in the caches of the kernel."""
        try:
            device = self._device()
        except NotCertain as reason:
            raise EspFailed(str(reason)) from reason
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

    def _device(self) -> str | None:
        """Return the device of the partition on the booted disk; None if it has none.

        Raises:
            NotCertain: it is not certain which disk was booted.
        """
        found = self._disk.partition(PARTITION)
        return found.device if found else None
