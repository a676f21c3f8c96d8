"""Determines which disk the firmware booted from (docs/adr/0014-identity.md).

Identical copies of a stick share their identifiers; only the port that a disk is plugged into
distinguishes them. No rule guesses: if two disks match, the result is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from phase_boot.firmware.load_option import (
    Atapi,
    DevicePath,
    Node,
    Nvme,
    Pci,
    PciRoot,
    Sata,
    Scsi,
    Sd,
    Unit,
    Unknown,
    Usb,
)

ABSENT: Final = "the disk that the firmware booted is not there"
COPIES: Final = "a copy of this stick is plugged in; unplug it"
SILENT: Final = "the firmware does not say which disk it booted"


class BootDiskUnknown(Exception):
    """No disk is certainly the booted one; ``str`` is the reason.

    Attributes:
        absent: the booted disk is known, and was not enumerated yet.
    """

    def __init__(self, reason: str, *, absent: bool = False) -> None:
        super().__init__(reason)
        self.absent = absent


class Verdict(StrEnum):
    """Whether a device path names a disk."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbUnit:
    """A logical unit of a USB mass storage device.

    Attributes:
        root: the numbers, from 0, that a firmware may use for the port of the controller. Linux
            counts the ports of each speed separately, firmware all ports of the controller.
        ports: the ports of the hubs after it, from 0.
    """

    root: frozenset[int]
    ports: tuple[int, ...]
    interface: int
    lun: int


@dataclass(frozen=True, slots=True)
class AtaDrive:
    """A drive of a SATA or IDE controller; ``port`` and ``drive`` count from 0."""

    port: int
    drive: int


@dataclass(frozen=True, slots=True)
class PciDisk:
    """A disk that is itself a PCI function, such as a virtio disk."""


Device: TypeAlias = UsbUnit | AtaDrive | Scsi | Nvme | Sd | PciDisk | None
"""The device below the PCI function; None for an unsupported kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusPath:
    """Path of a disk from the PCI root bridge, as in an EFI device path.

    Attributes:
        root: the ACPI _UID of the root bridge; None if unknown.
        pci: the PCI functions from the root bridge to the controller.
        device: the device below the controller.
    """

    root: str | None
    pci: tuple[Pci, ...]
    device: Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk with the running Seed partition.

    Attributes:
        name: the kernel's name.
        guids: the partition GUIDs by partition number.
        bus_path: the path of the disk; None on an unsupported bus.
        location: the path in a form that another kernel on this machine finds; empty if unknown.
    """

    name: str
    guids: Mapping[int, str]
    bus_path: BusPath | None
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootVariables:
    """The firmware's statements about the booted disk.

    Attributes:
        loader: the GUID of the partition that the loader came from, by `LoaderDevicePartUUID`.
        path: the device path of the option that was booted, by `BootCurrent`.
    """

    loader: str | None
    path: DevicePath


def booted_disk(disks: Sequence[Disk], variables: BootVariables) -> Disk:
    """Return the disk that the firmware booted from.

    The device path must name this disk alone. If the path has no hardware nodes, this disk must
    be the only one with the partition of the loader.

    Raises:
        BootDiskUnknown: no disk matches, or more than one.
    """
    esp = variables.loader or variables.path.partition
    if variables.path.partition not in {None, esp}:
        # Another boot loader started ours: the path names that loader's disk.
        raise BootDiskUnknown(SILENT)
    candidates = [disk for disk in disks if esp is None or esp in disk.guids.values()]
    verdicts = {disk.name: match(variables.path, disk.bus_path) for disk in candidates}
    named = [disk for disk in candidates if verdicts[disk.name] is Verdict.YES]
    unclear = [disk for disk in candidates if verdicts[disk.name] is Verdict.UNKNOWN]
    if not named and not unclear:
        raise BootDiskUnknown(ABSENT, absent=True)
    if len(named) + len(unclear) > 1:
        raise BootDiskUnknown(COPIES)
    (disk,) = named or unclear
    if (not named and esp is None) or not disk.location:
        raise BootDiskUnknown(SILENT)
    if sum(each.location == disk.location for each in disks) > 1:
        raise BootDiskUnknown(COPIES)
    return disk


def match(path: DevicePath, bus_path: BusPath | None) -> Verdict:
    """Return whether ``path`` names the disk at ``bus_path``."""
    if not path.hardware or bus_path is None or not isinstance(path.hardware[0], PciRoot):
        return Verdict.UNKNOWN
    root, *rest = path.hardware
    pci = _leading_pci(rest)
    tail = rest[len(pci) :]
    if bus_path.root is None:
        return Verdict.UNKNOWN
    if root != PciRoot(bus_path.root) or pci != bus_path.pci[: len(pci)]:
        return Verdict.NO
    if any(isinstance(node, Unknown) for node in tail):
        return Verdict.UNKNOWN
    if pci != bus_path.pci:
        return Verdict.NO
    return _match_device(tail, bus_path.device)


def _leading_pci(nodes: Sequence[Node]) -> tuple[Pci, ...]:
    found: list[Pci] = []
    for node in nodes:
        if not isinstance(node, Pci):
            break
        found.append(node)
    return tuple(found)


def _match_device(tail: Sequence[Node], device: Device) -> Verdict:
    """Return whether the nodes after the controller name ``device``; no nodes name all of it."""
    if device is None:
        return Verdict.UNKNOWN
    if not tail:
        return Verdict.YES
    match device:
        case UsbUnit():
            fits = _match_usb(tail, device)
        case AtaDrive():
            fits = list(tail) in (
                [Sata(device.port)] if not device.drive else [],
                [Atapi(device.port, device.drive)],
            )
        case PciDisk():
            fits = False
        case _:
            fits = list(tail) == [device]
    return Verdict.YES if fits else Verdict.NO


def _match_usb(tail: Sequence[Node], device: UsbUnit) -> bool:
    ports = [node for node in tail if isinstance(node, Usb)]
    units = list(tail[len(ports) :])
    if not ports or list(tail[: len(ports)]) != ports:
        return False
    return (
        ports[0].port in device.root
        and tuple(port.port for port in ports[1:]) == device.ports
        and ports[-1].interface == device.interface
        and units == ([Unit(device.lun)] if device.lun or units else [])
    )
