"""Opens the store on the stick's Cache partition, or in memory."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from phase_boot.adapters.boot.boot_disk import BootDisk, Partition
from phase_boot.adapters.storage.folder_store import open_store, store_in
from phase_boot.adapters.system.programs import run
from phase_boot.firmware.boot_disk import BootDiskUnknown
from phase_boot.handoff.document import CachePartition
from phase_boot.machine.errors import CannotStore
from phase_boot.ports.storage import OpenStore
from phase_boot.trust.rollback import TRUST_FOLDER

PARTITION: Final = "phase-cache"
MOUNT_POINT: Final = Path("/cache")
MEMORY: Final = Path("/run/phase-boot/memory")
MEMORY_SHARE: Final = "size=80%,mode=0700,nodev,nosuid,noexec"
CACHE_OPTIONS: Final = "noatime,nodev,nosuid,noexec"
WANTED: Final = Path("/run/phase-boot/drivers-wanted")
"""Creating this file makes phase-coldplug-late.path load all drivers at once."""
LOOKS: Final = 20
PAUSE_SECONDS: Final = 0.5
"""Poll interval for a booted disk that has not appeared yet."""


class CachePartitionOpener:
    """Implements `ports.storage.StoreOpener` in the seed: mounts Cache or a tmpfs."""

    def __init__(self, disk: BootDisk, *, root: Path = Path("/")) -> None:
        self._disk = disk
        self._root = root
        self._mounted: list[Path] = []
        self._waits = True

    async def open(self, *, persistent: bool, bound: int) -> OpenStore:
        """Return the store on Cache; if not permitted or not possible, a store in memory."""
        note = None
        if persistent:
            found = await self._mount_cache()
            if isinstance(found, CachePartition):
                return replace(store_in(MOUNT_POINT, bound, persistent=True), partition=found)
            note = found
        MEMORY.mkdir(parents=True, exist_ok=True)
        if MEMORY not in self._mounted and not self.taken_up(MEMORY):
            failure = await self._mount("tmpfs", "tmpfs", MEMORY, MEMORY_SHARE)
            if failure is not None:
                raise CannotStore(f"there is no place to keep anything ({failure}); reboot")
        return open_store(MEMORY, MEMORY / TRUST_FOLDER, bound, persistent=False, note=note)

    async def release(self) -> None:
        """Unmount Cache. The tmpfs ends with the kernel."""
        if MOUNT_POINT in self._mounted and await run("umount", str(MOUNT_POINT)) is None:
            self._mounted.remove(MOUNT_POINT)

    async def _mount_cache(self) -> CachePartition | str:
        """Mount the partition if necessary; return it, or the reason of the failure."""
        try:
            found = await self.partition()
        except BootDiskUnknown as reason:
            return str(reason)
        if found is None:
            return "this stick has no Cache partition"
        if MOUNT_POINT not in self._mounted and not self.taken_up(MOUNT_POINT):
            failure = await self._mount("ext4", found.device, MOUNT_POINT, CACHE_OPTIONS)
            if failure is not None:
                return failure
        return CachePartition(guid=found.guid, location=found.location)

    async def _mount(self, kind: str, device: str, where: Path, options: str) -> str | None:
        failure = await run("mount", "-t", kind, "-o", options, device, str(where))
        if failure is None:
            self._mounted.append(where)
        return failure

    def taken_up(self, where: Path) -> bool:
        """Return whether a killed daemon left ``where`` mounted; take it over."""
        try:
            rows = (self._root / "proc/self/mountinfo").read_text().splitlines()
        except OSError:
            return False
        if any(row.split(" ", 5)[4] == str(where) for row in rows):
            self._mounted.append(where)
            return True
        return False

    async def partition(self) -> Partition | None:
        """Return Cache on the booted disk, never on another one; None if missing.

        The first call waits for a booted disk that has not appeared yet, and has the deferred
        drivers loaded, as one of them may be the disk's. Without Cache the boot continues.

        Raises:
            BootDiskUnknown: the booted disk is ambiguous, or did not appear.
        """
        for _ in range(LOOKS - 1 if self._waits else 0):
            try:
                return await asyncio.to_thread(self._disk.partition, PARTITION)
            except BootDiskUnknown as reason:
                if not reason.absent:
                    raise
            await asyncio.to_thread(self._want_drivers)
            await asyncio.sleep(PAUSE_SECONDS)
        self._waits = False
        return await asyncio.to_thread(self._disk.partition, PARTITION)

    def _want_drivers(self) -> None:
        # Without this file the drivers load after 20 s.
        with contextlib.suppress(OSError):
            (self._root / WANTED.relative_to("/")).touch()
