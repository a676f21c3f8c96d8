"""Finds partitions of the booted disk, from EFI variables and sysfs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from phase_boot.adapters.boot.efi_variables import GLOBAL, LOADER, EfiVariables, text_of
from phase_boot.adapters.boot.sysfs_disks import disks_with, partition_device
from phase_boot.firmware.boot_disk import SILENT, BootDiskUnknown, BootVariables, booted_disk
from phase_boot.firmware.load_option import BadLoadOption, DevicePath, read_load_option
from phase_boot.handoff.document import GUID

SEED_MARK: Final = Path("/run/phase-boot/seed")
"""File with the GUID of the mounted Seed partition, written by the initramfs."""
LOADER_PARTITION: Final = "LoaderDevicePartUUID"
BOOTED: Final = "BootCurrent"
_NUMBER_BYTES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition of the booted disk.

    Attributes:
        device: the device file.
        guid: the partition GUID in lower case.
        location: the path of its disk, in a form that another kernel on this machine finds.
    """

    device: str
    guid: str
    location: str


class BootDisk(Protocol):
    """The booted disk."""

    def partition(self, name: str) -> Partition | None:
        """Return the partition ``name``; None unless exactly one exists.

        Raises:
            BootDiskUnknown: the booted disk is ambiguous or missing.
        """


class SysfsBootDisk:
    """Implements `BootDisk` in the seed.

    The disk is determined anew for each call: sticks can be exchanged at any time.
    """

    def __init__(self, variables: EfiVariables, *, root: Path = Path("/")) -> None:
        self._variables = variables
        self._root = root

    def partition(self, name: str) -> Partition | None:
        """Compare the firmware's variables with sysfs."""
        disk = booted_disk(disks_with(self._seed(), root=self._root), self.boot_variables())
        found = partition_device(disk.name, name, root=self._root)
        if found is None or found[1] not in disk.guids:
            return None
        device, number = found
        return Partition(device=device, guid=disk.guids[number], location=disk.location)

    def boot_variables(self) -> BootVariables:
        """Return the EFI variables about the booted disk; unreadable ones count as missing."""
        try:
            loader = text_of(self._variables.read_volatile(LOADER_PARTITION, LOADER))
        except OSError:
            loader = None
        known = loader is not None and GUID.fullmatch(loader.lower())
        return BootVariables(loader=loader.lower() if loader and known else None, path=self._path())

    def _path(self) -> DevicePath:
        try:
            number = self._variables.read_volatile(BOOTED, GLOBAL)
            if number is None or len(number) != _NUMBER_BYTES:
                return DevicePath()
            option = self._variables.read(f"Boot{int.from_bytes(number, 'little'):04X}", GLOBAL)
            return DevicePath() if option is None else read_load_option(option)
        except (OSError, BadLoadOption):
            return DevicePath()

    def _seed(self) -> str:
        try:
            mark = (self._root / SEED_MARK.relative_to("/")).read_text("ascii").strip()
        except (OSError, ValueError):
            mark = ""
        if not GUID.fullmatch(mark):
            raise BootDiskUnknown(SILENT)
        return mark
