"""Reads disks from sysfs: their partitions and their paths from the PCI root bridge."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from phase_boot.firmware.boot_disk import AtaDrive, BusPath, Device, Disk, PciDisk, UsbUnit
from phase_boot.firmware.gpt import partition_guids
from phase_boot.firmware.load_option import Nvme, Pci, Scsi, Sd
from phase_boot.handoff.document import LOCATION

SEED_NAME: Final = "PARTNAME=phase-seed"
"""Name of the Seed partition. Other disks are not read: they may sleep or be faulty."""
MAX_DISKS: Final = 64
MAX_ATTRIBUTE: Final = 4096
_PCI_ROOT: Final = re.compile(r"pci[0-9a-f]{4,}:[0-9a-f]{2}")
_PCI: Final = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:([0-9a-f]{2})\.([0-7])")
_SCSI: Final = re.compile(r"[0-9]+:([0-9]+):([0-9]+):([0-9]+)")
_USB: Final = re.compile(r"[0-9]+-([0-9.]+):[0-9]+\.([0-9]+)")
_ROOT_PORT: Final = re.compile(r"usb[0-9]+-port([0-9]+)")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_RENUMBERED: Final = (
    (re.compile(r"/block/[^/]+$"), ""),
    (re.compile(r"/(usb|host|virtio|nvme|mmc|target)[0-9]+"), r"/\1"),
    (re.compile(r"/[0-9]+(-[0-9]|:[0-9]+:[0-9]+:[0-9]+)"), r"/\1"),
)
"""Parts of a sysfs path that depend on enumeration order; image/target/init omits the same."""


def disks_with(seed: str, *, root: Path = Path("/")) -> list[Disk]:
    """Return the disks with a partition named `phase-seed` of GUID ``seed``."""
    folders = sorted({folder.parent for folder in _seeds(root)})[:MAX_DISKS]
    found = [_disk(folder, root) for folder in folders]
    return [disk for disk in found if seed in disk.guids.values()]


def partition_device(disk: str, name: str, *, root: Path = Path("/")) -> tuple[str, int] | None:
    """Return device and number of the partition ``name``; None unless exactly one exists."""
    found = [
        (f"/dev/{folder.name}", _number(folder / "partition"))
        for folder in _listed(root / "sys/class/block" / disk)
        if f"PARTNAME={name}" in _read(folder / "uevent").splitlines()
    ]
    match found:
        case [(device, int(number))]:
            return device, number
    return None


def bus_path_of(folder: Path, devices: Path) -> BusPath | None:
    """Return the bus path of the disk in ``folder``; None if it is not on a PCI bus.

    Args:
        folder: the folder of the disk in sysfs, with links resolved.
        devices: /sys/devices, with links resolved.
    """
    bridge, *rest = folder.relative_to(devices).parts
    if not _PCI_ROOT.fullmatch(bridge):
        return None
    functions = []
    while rest and (found := _PCI.fullmatch(rest[0])):
        functions.append(Pci(int(found[1], 16), int(found[2])))
        rest = rest[1:]
    below = folder.parents[len(rest) - 1] if rest else folder
    return BusPath(
        root=_root_uid(devices / bridge), pci=tuple(functions), device=_device(below, rest)
    )


def location_of(folder: Path, devices: Path) -> str:
    """Return the path of a disk in a form that is the same in each boot of this machine.

    Numbers that depend on enumeration order are left out. It is empty for a disk without a single
    path, such as a multipath device.
    """
    path = folder.relative_to(devices)
    if path.parts[0] == "virtual":
        return ""
    text = f"/{path}"
    for shape, replacement in _RENUMBERED:
        text = shape.sub(replacement, text)
    if ata := re.search(r"/ata[0-9]+", text):
        controller = devices / text[1 : ata.end()]
        port = _number(controller / "ata_port" / controller.name / "port_no")
        text = f"{text[: ata.start()]}/ata{port}{text[ata.end() :]}"
    return text if LOCATION.fullmatch(text) else ""


def _seeds(root: Path) -> Iterator[Path]:
    """Yield the folder of each partition named `phase-seed`, with links resolved."""
    for link in _listed(root / "sys/class/block"):
        if SEED_NAME in _read(link / "uevent").splitlines():
            yield Path(os.path.realpath(link))


def _disk(folder: Path, root: Path) -> Disk:
    devices = Path(os.path.realpath(root / "sys/devices"))
    return Disk(
        name=folder.name,
        guids=_guids(folder, root),
        bus_path=bus_path_of(folder, devices),
        location=location_of(folder, devices),
    )


def _guids(folder: Path, root: Path) -> dict[int, str]:
    """Return the partition GUIDs of the disk in ``folder``; empty if unreadable."""
    try:
        fd = os.open(root / "dev" / folder.name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        sector = _number(folder / "queue/logical_block_size") or 0
        return dict(partition_guids(lambda at, size: os.pread(fd, size, at), sector))
    except OSError:
        return {}
    finally:
        os.close(fd)


def _root_uid(bridge: Path) -> str | None:
    """Return the ACPI _UID of a root bridge; without one a sole bridge has 0."""
    if uid := _read(bridge / "firmware_node/uid").strip():
        return uid
    bridges = [each for each in _listed(bridge.parent) if _PCI_ROOT.fullmatch(each.name)]
    return "0" if len(bridges) == 1 else None


def _device(controller: Path, parts: list[str]) -> Device:
    """Return the device at the path ``parts`` below the controller."""
    match [re.sub(r"[0-9]+$", "", part) for part in parts]:
        case ["virtio", "block", _]:
            return PciDisk()
        case ["nvme", "nvme", _]:
            namespace = _number(controller.joinpath(*parts, "nsid"))
            return None if namespace is None else Nvme(namespace)
        case ["mmc_host", "mmc", *_]:
            return Sd(0)
    return _scsi(controller, parts)


def _scsi(controller: Path, parts: list[str]) -> Device:
    """Return the device of a disk that Linux drives as SCSI, on any bus."""
    scsi = next(filter(None, map(_SCSI.fullmatch, parts)), None)
    if scsi is None:
        return None
    _channel, target, lun = map(int, scsi.groups())
    if parts[0].startswith("usb"):
        return _usb(controller, parts, lun)
    if parts[0].startswith("ata"):
        port = _number(controller / parts[0] / "ata_port" / parts[0] / "port_no")
        return AtaDrive(port - 1, target) if port else None
    return Scsi(target, lun)


def _usb(controller: Path, parts: list[str], lun: int) -> UsbUnit | None:
    plugged = next(filter(None, map(_USB.fullmatch, parts)), None)
    ports = [int(port) for port in plugged[1].split(".") if port] if plugged else []
    if plugged is None or not ports:
        return None
    hub = controller / parts[0]
    numbers = set(_numbers(hub, ports[0]))
    bus = parts[0].removeprefix("usb")
    peer = Path(os.path.realpath(hub / f"{bus}-0:1.0" / f"usb{bus}-port{ports[0]}" / "peer"))
    # The peer port of the same connector at another speed, which the firmware may use.
    if (other := _ROOT_PORT.fullmatch(peer.name)) and peer.parent.parent.parent == controller:
        numbers.update(_numbers(peer.parent.parent, int(other[1])))
    return UsbUnit(
        root=frozenset(numbers),
        ports=tuple(port - 1 for port in ports[1:]),
        interface=int(plugged[2]),
        lun=lun,
    )


def _numbers(hub: Path, port: int) -> Iterator[int]:
    """Yield the numbers that firmware may use for ``port`` of a Linux root hub.

    An xHCI controller numbers the ports of all speeds consecutively; Linux has a root hub for each
    speed. The order of the speeds is unknown, so both are possible.
    """
    yield port - 1
    for other in _listed(hub.parent):
        if other != hub and re.fullmatch(r"usb[0-9]+", other.name):
            yield port - 1 + (_number(other / "maxchild") or 0)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(MAX_ATTRIBUTE).decode("utf-8", "replace")
    return ""


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if _NUMBER.fullmatch(text) else None
