"""Mounts the EFI system partition (ESP) of the stick, as briefly as possible.

A power cut during a mount may leave a damaged filesystem, so the partition is mounted only to read
or write a few files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

from phase_boot.adapters.boot.boot_disk import BootDisk
from phase_boot.adapters.boot.fat_lookup import certainly_lacks
from phase_boot.adapters.system.programs import run
from phase_boot.firmware.boot_disk import BootDiskUnknown

PARTITION: Final = "phase-esp"
MOUNT_POINT: Final = Path("/run/phase-boot/esp")
OPTIONS: Final = "nodev,nosuid,noexec,noatime,umask=0077"


class EspFailed(Exception):
    """The ESP cannot be used; ``str`` is the reason."""


class Esp(Protocol):
    """A FAT filesystem that is mounted on demand."""

    def obstacle(self) -> str | None:
        """Return the obstacle to writing, if one is known without mounting."""

    def certainly_lacks(self, name: str) -> bool:
        """Return whether the root folder surely lacks the name, without mounting."""

    def mounted(
        self, *, writable: bool = False
    ) -> contextlib.AbstractAsyncContextManager[Path | None]:
        """Return a context with the mount point, with nothing cached from an earlier mount.

        The mount point is None without such a partition.

        Raises:
            EspFailed: mounting or unmounting fails.
        """


class StickEsp:
    """Implements `Esp` in the seed, on the booted disk only."""

    def __init__(
        self, disk: BootDisk, *, root: Path = Path("/"), where: Path = MOUNT_POINT
    ) -> None:
        self._disk = disk
        self._root = root
        self._where = where

    def obstacle(self) -> str | None:
        """Check the partition and the disk's write protection."""
        try:
            device = self._device()
        except BootDiskUnknown as reason:
            return str(reason)
        if device is None:
            return "this stick has no EFI system partition"
        mark = self._root / "sys/class/block" / Path(device).name / "ro"
        with contextlib.suppress(OSError):
            if mark.read_text().strip() == "1":
                return "the stick is write-protected"
        return None

    def certainly_lacks(self, name: str) -> bool:
        """Read the root folder from the partition's bytes."""
        try:
            device = self._device()
        except BootDiskUnknown:
            # Nothing is ever written if the disk is uncertain, so there is nothing to clear.
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
        """Mount and unmount, which drops the kernel's caches of the filesystem."""
        try:
            device = self._device()
        except BootDiskUnknown as reason:
            raise EspFailed(str(reason)) from reason
        if device is None:
            yield None
            return
        self._where.mkdir(parents=True, exist_ok=True)
        if self._where.is_mount():
            # Left by a killed daemon, with unknown write access.
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
        """Return the device of the partition on the booted disk; None if missing.

        Raises:
            BootDiskUnknown: the booted disk is ambiguous or missing.
        """
        found = self._disk.partition(PARTITION)
        return found.device if found else None
