"""The booted disk in a machine that has several: by what firmware and sysfs say."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.adapters.boot.boot_disk import Partition, SysfsBootDisk
from phase_boot.adapters.boot.efi_variables import GLOBAL, LOADER, EfiVariables
from phase_boot.adapters.boot.sysfs_disks import disks_with
from phase_boot.firmware.boot_disk import (
    COPIES,
    SILENT,
    AtaDrive,
    BootDiskUnknown,
    BusPath,
    Device,
    PciDisk,
    UsbUnit,
)
from phase_boot.firmware.load_option import Nvme, Pci, Scsi
from tests.support.block_devices import (
    AHCI,
    CACHE,
    ESP,
    FILE,
    FOREIGN_CACHE,
    FOREIGN_ESP,
    FOREIGN_SEED,
    NVME,
    PCI_ROOT,
    SEED,
    USB2_HUB,
    USB3,
    USB3_NEXT,
    VIRTIO,
    VIRTIO_SCSI,
    Computer,
    hard_drive,
    nvme,
    pci,
    sata,
    scsi,
    usb,
    write,
)

FOREIGN = (FOREIGN_ESP, FOREIGN_SEED, FOREIGN_CACHE)
PATHS = {
    VIRTIO: (PCI_ROOT, pci(3)),
    NVME: (PCI_ROOT, pci(4), nvme(1)),
    AHCI: (PCI_ROOT, pci(5), sata(2)),
    VIRTIO_SCSI: (PCI_ROOT, pci(6), scsi(3, 1)),
    USB3: (PCI_ROOT, pci(2), usb(0)),
    USB3_NEXT: (PCI_ROOT, pci(2), usb(1)),
    USB2_HUB: (PCI_ROOT, pci(2), usb(5), usb(0)),
}
"""What OVMF and AAVMF call each of these places."""


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    machine = Computer(tmp_path)
    machine.controllers()
    machine.runs()
    return machine


def cache(machine: Computer) -> Partition | None:
    return disk_of(machine).partition("phase-cache")


def disk_of(machine: Computer) -> SysfsBootDisk:
    return SysfsBootDisk(EfiVariables(machine.variables), root=machine.root)


def device(at: str) -> str:
    name = at.rpartition("/")[2]
    return f"/dev/{name}{'p' if name[-1].isdigit() else ''}3"


@pytest.mark.parametrize(
    ("at", "expected", "location"),
    [
        (VIRTIO, PciDisk(), "/pci0000:00/0000:00:03.0/virtio"),
        (NVME, Nvme(1), "/pci0000:00/0000:00:04.0/nvme/nvme/nvmen1"),
        (AHCI, AtaDrive(2, 0), "/pci0000:00/0000:00:05.0/ata3/host/target:0:0/:0:0:0"),
        (VIRTIO_SCSI, Scsi(3, 1), "/pci0000:00/0000:00:06.0/virtio/host/target:0:3/:0:3:1"),
        (
            USB3,
            UsbUnit(root=frozenset({0, 4}), ports=(), interface=0, lun=0),
            "/pci0000:00/0000:00:02.0/usb/-1/-1:1.0/host/target:0:0/:0:0:0",
        ),
        (
            USB2_HUB,
            UsbUnit(root=frozenset({1, 5}), ports=(0,), interface=0, lun=0),
            "/pci0000:00/0000:00:02.0/usb/-2/-2.1/-2.1:1.0/host/target:0:0/:0:0:0",
        ),
    ],
)
def test_every_disk_location_is_read_from_sysfs(
    computer: Computer, at: str, expected: Device, location: str
) -> None:
    computer.plug(at)
    (disk,) = disks_with(SEED, root=computer.root)
    function = int(at.split("/")[1][8:10], 16)
    assert disk.bus_path == BusPath(root="0", pci=(Pci(function, 0),), device=expected)
    assert disk.location == location
    assert dict(disk.guids) == {1: ESP, 2: SEED, 3: CACHE}


@pytest.mark.parametrize("booted", PATHS)
def test_among_seven_copies_cache_is_that_of_the_disk_that_was_booted(
    computer: Computer, booted: str
) -> None:
    for at in PATHS:
        computer.plug(at)
    computer.loaded_from(ESP)
    computer.booted(*PATHS[booted])
    found = cache(computer)
    assert found
    assert (found.device, found.guid) == (device(booted), CACHE)


@pytest.mark.parametrize("booted", [VIRTIO, USB3])
def test_a_disk_of_another_publisher_is_never_used(computer: Computer, booted: str) -> None:
    other = USB3 if booted == VIRTIO else VIRTIO
    computer.plug(other, FOREIGN)
    computer.plug(booted)
    computer.loaded_from(ESP)
    for device_path in ((), (hard_drive(ESP), FILE), PATHS[booted]):
        computer.booted(*device_path)
        found = cache(computer)
        assert found
        assert found.device == device(booted)


def test_copies_are_not_used_where_the_path_begins_at_the_partition(computer: Computer) -> None:
    computer.plug(USB3)
    computer.plug(VIRTIO)
    computer.loaded_from(ESP)
    computer.booted(hard_drive(ESP), FILE)
    with pytest.raises(BootDiskUnknown, match=COPIES):
        cache(computer)


def test_a_stick_that_takes_the_place_of_the_booted_one_is_not_used(computer: Computer) -> None:
    computer.plug(VIRTIO, (ESP, FOREIGN_SEED, FOREIGN_CACHE))
    computer.loaded_from(ESP)
    computer.booted(*PATHS[VIRTIO])
    with pytest.raises(BootDiskUnknown) as caught:
        cache(computer)
    assert caught.value.absent


def test_without_any_variable_no_disk_is_certain(computer: Computer) -> None:
    computer.plug(VIRTIO)
    with pytest.raises(BootDiskUnknown, match=SILENT):
        cache(computer)


def test_a_path_alone_is_enough(computer: Computer) -> None:
    computer.plug(VIRTIO)
    computer.plug(USB3)
    computer.booted(*PATHS[USB3])
    found = cache(computer)
    assert found
    assert found.device == device(USB3)


def test_a_non_volatile_loader_variable_is_ignored(computer: Computer) -> None:
    computer.plug(VIRTIO)
    computer.loaded_from(ESP, attributes=7)
    assert disk_of(computer).boot_variables().loader is None
    with pytest.raises(BootDiskUnknown, match=SILENT):
        cache(computer)


@pytest.mark.parametrize(
    ("name", "vendor", "content"),
    [
        ("LoaderDevicePartUUID", LOADER, b""),
        ("LoaderDevicePartUUID", LOADER, b"\6\0\0\0"),
        ("LoaderDevicePartUUID", LOADER, b"\6\0\0\0" + b"../\0" * 1000),
        ("LoaderDevicePartUUID", LOADER, b"\6\0\0\0" + b"\xd8" * 4001),
        ("BootCurrent", GLOBAL, b"\6\0\0\0\1"),
        ("BootCurrent", GLOBAL, b"\6\0\0\0" + b"\1" * 100),
        ("BootCurrent", GLOBAL, b"\7\0\0\0\1\0"),
        ("Boot0001", GLOBAL, b""),
        ("Boot0001", GLOBAL, b"\7\0\0\0" + b"\xff" * 5000),
    ],
)
def test_hostile_boot_variables_are_ignored(
    computer: Computer, name: str, vendor: str, content: bytes
) -> None:
    computer.plug(VIRTIO)
    computer.plug(USB3)
    computer.loaded_from(ESP)
    computer.booted(*PATHS[USB3])
    (computer.variables / f"{name}-{vendor}").write_bytes(content)
    if name == "LoaderDevicePartUUID":
        found = cache(computer)
        assert found
        assert found.device == device(USB3)
    else:
        with pytest.raises(BootDiskUnknown, match=COPIES):
            cache(computer)


def test_a_table_that_cannot_be_read_makes_its_disk_no_candidate(computer: Computer) -> None:
    disk = computer.plug(VIRTIO)
    computer.loaded_from(ESP)
    (computer.root / "dev" / disk.name).write_bytes(bytes(40_000))
    with pytest.raises(BootDiskUnknown) as caught:
        cache(computer)
    assert caught.value.absent
    (computer.root / "dev" / disk.name).unlink()
    with pytest.raises(BootDiskUnknown):
        cache(computer)


def test_two_partitions_of_one_name_are_not_used(computer: Computer) -> None:
    disk = computer.plug(VIRTIO)
    computer.loaded_from(ESP)
    write(disk / "vda1/uevent", "PARTN=1\nPARTNAME=phase-cache\n")
    assert cache(computer) is None


@pytest.mark.parametrize("mark", ["", "../../etc", "vda", SEED[:-1]])
def test_without_an_identifier_of_the_initramfs_no_disk_is_certain(
    computer: Computer, mark: str
) -> None:
    computer.plug(VIRTIO)
    computer.loaded_from(ESP)
    computer.runs(mark)
    with pytest.raises(BootDiskUnknown, match=SILENT):
        cache(computer)


def test_a_root_bridge_without_a_name_is_0_only_where_there_is_no_other(
    computer: Computer,
) -> None:
    computer.plug(VIRTIO)
    (computer.root / "sys/devices/pci0000:00/firmware_node/uid").unlink()
    (disk,) = disks_with(SEED, root=computer.root)
    assert disk.bus_path
    assert disk.bus_path.root == "0"
    (computer.root / "sys/devices/pci0000:80").mkdir()
    (disk,) = disks_with(SEED, root=computer.root)
    assert disk.bus_path
    assert disk.bus_path.root is None


@pytest.mark.parametrize("at", ["virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "virtual/block/md0"])
def test_a_disk_with_several_paths_has_no_location(computer: Computer, at: str) -> None:
    computer.plug(at)
    (disk,) = disks_with(SEED, root=computer.root)
    assert (disk.bus_path, disk.location) == (None, "")


@pytest.mark.parametrize(
    "at",
    [
        "platform/a003e00.virtio_mmio/virtio7/block/vda",
        "pci0000:00/0000:00:03.0/strange/block/xda",
    ],
)
def test_a_bus_that_is_not_interpreted_still_has_a_location(computer: Computer, at: str) -> None:
    computer.plug(at)
    (disk,) = disks_with(SEED, root=computer.root)
    assert disk.bus_path is None or disk.bus_path.device is None
    assert disk.location
