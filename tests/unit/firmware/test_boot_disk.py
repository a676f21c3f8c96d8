"""The booted disk among copies, by every kind of device path, also incomplete ones."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import pytest

from phase_boot.firmware.boot_disk import (
    ABSENT,
    COPIES,
    SILENT,
    AtaDrive,
    BootDiskUnknown,
    BootVariables,
    BusPath,
    Device,
    Disk,
    PciDisk,
    UsbUnit,
    Verdict,
    booted_disk,
    match,
)
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
from tests.support.block_devices import ESP, FOREIGN_ESP, SEED

ROOT = PciRoot("0")
FUNCTION = Pci(3, 0)
STICK: Mapping[int, str] = {1: ESP, 2: SEED}


def place(device: Device, *pci: Pci, root: str | None = "0") -> BusPath:
    return BusPath(root=root, pci=pci or (FUNCTION,), device=device)


def port(number: int, *ports: int, interface: int = 0, lun: int = 0) -> UsbUnit:
    return UsbUnit(root=frozenset({number, number + 4}), ports=ports, interface=interface, lun=lun)


def path(*nodes: Node, partition: str | None = None) -> DevicePath:
    return DevicePath(hardware=nodes, partition=partition)


@pytest.mark.parametrize(
    ("tail", "device"),
    [
        ([], PciDisk()),
        ([], port(0)),
        ([Usb(0, 0)], port(0)),
        ([Usb(4, 0)], port(0)),
        ([Usb(1, 0), Usb(2, 0)], port(1, 2)),
        ([Usb(1, 1)], port(1, interface=1)),
        ([Usb(1, 0), Unit(0)], port(1)),
        ([Usb(1, 0), Unit(2)], port(1, lun=2)),
        ([Sata(2)], AtaDrive(2, 0)),
        ([Atapi(1, 1)], AtaDrive(1, 1)),
        ([Scsi(3, 1)], Scsi(3, 1)),
        ([Nvme(1)], Nvme(1)),
        ([Sd(0)], Sd(0)),
    ],
)
def test_a_path_names_the_disk_that_it_leads_to(tail: list[Node], device: Device) -> None:
    assert match(path(ROOT, FUNCTION, *tail), place(device)) is Verdict.YES
    assert match(path(ROOT, Pci(4, 0), *tail), place(device)) is Verdict.NO
    assert match(path(PciRoot("1"), FUNCTION, *tail), place(device)) is Verdict.NO
    behind = place(device, Pci(28, 1), FUNCTION)
    assert match(path(ROOT, Pci(28, 1), FUNCTION, *tail), behind) is Verdict.YES
    assert match(path(ROOT, FUNCTION, *tail), behind) is Verdict.NO


@pytest.mark.parametrize(
    ("tail", "device"),
    [
        ([Usb(1, 0)], port(0)),
        ([Usb(0, 1)], port(0)),
        ([Usb(0, 0), Usb(1, 0)], port(0)),
        ([Usb(0, 0)], port(0, 1)),
        ([Usb(0, 0)], port(0, lun=1)),
        ([Usb(0, 0), Unit(1)], port(0)),
        ([Unit(0)], port(0)),
        ([Usb(0, 0), Unit(0), Usb(1, 0)], port(0, 1)),
        ([Usb(0, 0)], PciDisk()),
        ([Sata(1)], AtaDrive(2, 0)),
        ([Sata(2)], AtaDrive(2, 1)),
        ([Sata(2)], port(2)),
        ([Scsi(3, 0)], Scsi(3, 1)),
        ([Nvme(2)], Nvme(1)),
        ([Nvme(1), Nvme(1)], Nvme(1)),
    ],
)
def test_a_path_to_another_place_does_not_name_it(tail: list[Node], device: Device) -> None:
    assert match(path(ROOT, FUNCTION, *tail), place(device)) is Verdict.NO


@pytest.mark.parametrize(
    ("device_path", "at"),
    [
        (path(), place(PciDisk())),
        (path(partition=ESP), place(PciDisk())),
        (path(Unknown(1, 4)), place(PciDisk())),
        (path(Usb(0, 0)), place(port(0))),
        (path(ROOT, FUNCTION, Unknown(3, 10)), place(port(0))),
        (path(ROOT, FUNCTION, Usb(0, 0)), place(None)),
        (path(ROOT, FUNCTION), place(PciDisk(), root=None)),
        (path(ROOT, FUNCTION), None),
    ],
)
def test_an_unknown_path_neither_matches_nor_excludes_a_disk(
    device_path: DevicePath, at: BusPath | None
) -> None:
    assert match(device_path, at) is Verdict.UNKNOWN


def test_an_unknown_node_excludes_disks_on_another_controller() -> None:
    device_path = path(ROOT, FUNCTION, Unknown(3, 10))
    assert match(device_path, place(PciDisk(), Pci(9, 0))) is Verdict.NO


def disk(name: str, at: BusPath | None, guids: Mapping[int, str] = STICK, where: str = "") -> Disk:
    return Disk(name=name, guids=guids, bus_path=at, location=where or f"/at/{name}")


USB = disk("sda", place(port(0)))
NEXT = disk("sdb", place(port(1)))
VIRTIO = disk("vda", place(PciDisk(), Pci(4, 0)))
FOREIGN = disk("vdb", place(PciDisk(), Pci(5, 0)), {1: FOREIGN_ESP, 2: SEED})
BY_USB = path(ROOT, FUNCTION, Usb(0, 0))
BY_VIRTIO = path(ROOT, Pci(4, 0))


def test_of_copies_the_one_that_the_path_names_is_used_in_any_order() -> None:
    for disks in permutations([USB, NEXT, VIRTIO, FOREIGN]):
        for loader in (ESP, None):
            claims = BootVariables(loader=loader, path=BY_USB)
            assert booted_disk(disks, claims) is USB
        assert booted_disk(disks, BootVariables(loader=ESP, path=BY_VIRTIO)) is VIRTIO


def uncertain(disks: list[Disk], claims: BootVariables) -> tuple[str, bool]:
    with pytest.raises(BootDiskUnknown) as caught:
        booted_disk(disks, claims)
    return str(caught.value), caught.value.absent


@pytest.mark.parametrize(
    "device_path",
    [path(), path(partition=ESP), path(Unknown(1, 4)), path(ROOT, FUNCTION, Unknown(3, 10))],
)
def test_copies_that_the_path_does_not_distinguish_are_not_used(
    device_path: DevicePath,
) -> None:
    assert uncertain([USB, NEXT], BootVariables(loader=ESP, path=device_path)) == (COPIES, False)


def test_a_controller_that_has_both_copies_names_neither() -> None:
    device_path = path(ROOT, FUNCTION)
    assert uncertain([USB, NEXT], BootVariables(loader=ESP, path=device_path)) == (COPIES, False)


def test_a_copy_at_an_unknown_location_makes_the_named_one_uncertain() -> None:
    odd = disk("sdx", None)
    assert uncertain([USB, odd], BootVariables(loader=ESP, path=BY_USB)) == (COPIES, False)


def test_copies_that_another_kernel_cannot_distinguish_are_not_used() -> None:
    one, other = disk("sda", USB.bus_path, where="/x"), disk("sdb", NEXT.bus_path, where="/x")
    assert uncertain([one, other], BootVariables(loader=ESP, path=BY_USB)) == (COPIES, False)


def test_a_disk_without_a_unique_location_is_not_used() -> None:
    lost = Disk(name="dm-0", guids=STICK, bus_path=None, location="")
    assert uncertain([lost], BootVariables(loader=ESP, path=path())) == (SILENT, False)


def test_a_copy_is_not_used_while_the_booted_disk_is_absent() -> None:
    assert uncertain([VIRTIO], BootVariables(loader=ESP, path=BY_USB)) == (ABSENT, True)
    assert uncertain([], BootVariables(loader=ESP, path=path())) == (ABSENT, True)
    assert uncertain([FOREIGN], BootVariables(loader=ESP, path=path())) == (ABSENT, True)


def test_the_only_disk_with_the_loaders_partition_needs_no_path() -> None:
    for device_path in (path(), path(partition=ESP), path(Unknown(1, 4))):
        assert booted_disk([USB, FOREIGN], BootVariables(loader=ESP, path=device_path)) is USB
    assert booted_disk([USB, FOREIGN], BootVariables(loader=None, path=path(partition=ESP))) is USB


def test_without_partition_and_path_no_disk_is_certain() -> None:
    assert uncertain([USB], BootVariables(loader=None, path=path())) == (SILENT, False)


def test_a_path_to_the_partition_of_another_loader_is_about_another_disk() -> None:
    device_path = path(ROOT, FUNCTION, Usb(0, 0), partition=FOREIGN_ESP)
    assert uncertain([USB], BootVariables(loader=ESP, path=device_path)) == (SILENT, False)


@pytest.mark.parametrize("reason", [ABSENT, COPIES, SILENT])
def test_a_reason_fits_into_the_line_of_the_console(reason: str) -> None:
    assert len(f"   12.34s    store in memory: {reason}") <= 79
