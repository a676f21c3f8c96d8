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


class NotCertain(Exception):
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
class UsbPlace:
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
class AtaPlace:
    """A drive of a SATA or IDE controller; ``port`` and ``drive`` count from 0."""

    port: int
    drive: int


@dataclass(frozen=True, slots=True)
class DirectPlace:
    """A disk that is itself a PCI function, such as a virtio disk."""


Device: TypeAlias = UsbPlace | AtaPlace | Scsi | Nvme | Sd | DirectPlace | None
"""The place below the PCI function; None where it is of a kind that is not interpreted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a disk is plugged in.

    Attributes:
        root: the _UID of the root bridge; None where it is not known.
        pci: the functions from the root bridge down to the controller.
        device: the place below the controller.
    """

    root: str | None
    pci: tuple[Pci, ...]
    device: Device


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk with the running Seed partition.

    Attributes:
        name: the kernel's name.
        guids: the GUID of each partition, by its number.
        place: where it is plugged in; None where it is on no bus that is interpreted.
        location: the same for another kernel on this machine; empty where it is unknown.
    """

    name: str
    guids: Mapping[int, str]
    place: Place | None
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The firmware's statements about the booted disk.

    Attributes:
        loader: the GUID of the partition that the loader came from, by `LoaderDevicePartUUID`.
        path: the device path of the option that was booted, by `BootCurrent`.
    """

    loader: str | None
    path: DevicePath


def booted_disk(disks: Sequence[Disk], claims: Claims) -> Disk:
    """Return the disk that the firmware booted from.

    A disk is certain if the device path names it and no other; or, where the path says nothing
    about places, if it alone has the partition that the loader came from.

    Raises:
        NotCertain: there is no such disk, or more than one could be it.
    """
    esp = claims.loader or claims.path.partition
    if claims.path.partition not in {None, esp}:
        # Another boot loader started ours: the path names that loader's disk.
        raise NotCertain(SILENT)
    able = [disk for disk in disks if esp is None or esp in disk.guids.values()]
    judged = {disk.name: names(claims.path, disk.place) for disk in able}
    named = [disk for disk in able if judged[disk.name] is Verdict.YES]
    unclear = [disk for disk in able if judged[disk.name] is Verdict.UNKNOWN]
    if not named and not unclear:
        raise NotCertain(ABSENT, absent=True)
    if len(named) + len(unclear) > 1:
        raise NotCertain(COPIES)
    (disk,) = named or unclear
    if (not named and esp is None) or not disk.location:
        raise NotCertain(SILENT)
    if sum(each.location == disk.location for each in disks) > 1:
        raise NotCertain(COPIES)
    return disk


def names(path: DevicePath, place: Place | None) -> Verdict:
    """Return whether ``path`` names the disk at ``place``."""
    if not path.hardware or place is None or not isinstance(path.hardware[0], PciRoot):
        return Verdict.UNKNOWN
    root, *rest = path.hardware
    pci = _leading_pci(rest)
    tail = rest[len(pci) :]
    if place.root is None:
        return Verdict.UNKNOWN
    if root != PciRoot(place.root) or pci != place.pci[: len(pci)]:
        return Verdict.NO
    if any(isinstance(node, Unknown) for node in tail):
        return Verdict.UNKNOWN
    if pci != place.pci:
        return Verdict.NO
    return _names_device(tail, place.device)


def _leading_pci(nodes: Sequence[Node]) -> tuple[Pci, ...]:
    found: list[Pci] = []
    for node in nodes:
        if not isinstance(node, Pci):
            break
        found.append(node)
    return tuple(found)


def _names_device(tail: Sequence[Node], device: Device) -> Verdict:
    """Return whether the nodes after the controller name ``device``; no nodes name all of it."""
    if device is None:
        return Verdict.UNKNOWN
    if not tail:
        return Verdict.YES
    match device:
        case UsbPlace():
            fits = _names_usb(tail, device)
        case AtaPlace():
            fits = list(tail) in (
                [Sata(device.port)] if not device.drive else [],
                [Atapi(device.port, device.drive)],
            )
        case DirectPlace():
            fits = False
        case _:
            fits = list(tail) == [device]
    return Verdict.YES if fits else Verdict.NO


def _names_usb(tail: Sequence[Node], device: UsbPlace) -> bool:
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
