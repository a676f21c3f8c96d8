"""The disk that the firmware booted from, and its partitions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from phase_boot.adapters.boot.efi_variables import GLOBAL, LOADER, EfiVariables, text_of
from phase_boot.adapters.boot.sysfs_disks import disks_with, partition_device
from phase_boot.firmware.boot_disk import SILENT, Claims, NotCertain, booted_disk
from phase_boot.firmware.load_option import BadLoadOption, DevicePath, read_load_option

SEED_MARK: Final = Path("/run/phase-boot/seed")
"""The GUID of the Seed partition that runs; the initramfs writes it."""
LOADER_PARTITION: Final = "LoaderDevicePartUUID"
BOOTED: Final = "BootCurrent"
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER_BYTES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition of the booted disk.

    Attributes:
        device: its device file.
        guid: its GUID in the partition table, in lower case.
        location: where its disk is plugged in, for another kernel on this machine.
    """

    device: str
    guid: str
    location: str


class BootDisk(Protocol):
    """The disk that this machine booted from."""

    def partition(self, name: str) -> Partition | None:
        """Return its partition ``name``; None if it has not exactly one.

        Raises:
            NotCertain: it is not certain which disk it is, or it is not there.
        """


class SysfsBootDisk:
    """Implements `BootDisk` in the seed.

    It is decided anew for every question: a stick can be pulled out, and another one put in.
    """

    def __init__(self, variables: EfiVariables, *, root: Path = Path("/")) -> None:
        self._variables = variables
        self._root = root

    def partition(self, name: str) -> Partition | None:
        """Compare the firmware's variables with sysfs."""
        disk = booted_disk(disks_with(self._seed(), root=self._root), self.claims())
        found = partition_device(disk.name, name, root=self._root)
        if found is None or found[1] not in disk.guids:
            return None
        device, number = found
        return Partition(device=device, guid=disk.guids[number], location=disk.location)

    def claims(self) -> Claims:
        """Return what the firmware says; what cannot be read is not said."""
        try:
            loader = text_of(self._variables.read_volatile(LOADER_PARTITION, LOADER))
        except OSError:
            loader = None
        known = loader is not None and _GUID.fullmatch(loader.lower())
        return Claims(loader=loader.lower() if loader and known else None, path=self._path())

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
        if not _GUID.fullmatch(mark):
            raise NotCertain(SILENT)
        return mark
