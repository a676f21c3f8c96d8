"""Boot#### variables of real firmware and of a hostile system."""

from __future__ import annotations

import struct

import pytest

from phase_boot.firmware.load_option import (
    MAX_NODES,
    MAX_VARIABLE,
    Atapi,
    BadLoadOption,
    DevicePath,
    Nvme,
    Pci,
    PciRoot,
    Sata,
    Scsi,
    Sd,
    Unit,
    Unknown,
    Usb,
    read_load_option,
)
from tests.support.block_devices import (
    ESP,
    FILE,
    PCI_ROOT,
    hard_drive,
    load_option,
    node,
    nvme,
    pci,
    sata,
    scsi,
    usb,
)

OVMF_USB = bytes.fromhex(
    "010000001c0055004500460049002000510045004d0055002000510045004d0055002000550053004200200048"
    "0041005200440044004900530056004500200031000000"
    "02010c00d041030a000000000101060000020305060000007fff0400"
    "4eac0881119f594d850ee21a522c59b2"
)
"""What OVMF makes of a stick in an xHCI port; the GUID behind the path is its own mark."""
OVMF_SHELL = bytes.fromhex(
    "010000002c00450046004900200049006e007400650072006e0061006c0020005300680065006c006c000000"
    "04071400c9bdb87cebf8344faaea3ee4af6516a10406140083a5047c3e9e1c4fad65e05268d0b4d17fff0400"
)


def test_the_load_option_of_ovmf_for_a_usb_stick_is_parsed() -> None:
    assert read_load_option(OVMF_USB) == DevicePath(
        hardware=(PciRoot("0"), Pci(2, 0), Usb(0, 0)), partition=None
    )


def test_a_path_within_a_firmware_volume_is_not_a_disk_location() -> None:
    path = read_load_option(OVMF_SHELL)
    assert path == DevicePath(hardware=(Unknown(4, 7), Unknown(4, 6)))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (sata(2), Sata(2)),
        (sata(2, multiplier=1), Unknown(3, 18)),
        (scsi(3, 1), Scsi(3, 1)),
        (nvme(1), Nvme(1)),
        (usb(4, 1), Usb(4, 1)),
        (node(3, 17, b"\2"), Unit(2)),
        (node(3, 26, b"\0"), Sd(0)),
        (node(3, 29, b"\0"), Sd(0)),
        (node(3, 1, b"\1\0\0\0"), Atapi(1, 0)),
        (node(1, 4, bytes(16)), Unknown(1, 4)),
        (node(2, 1, struct.pack("<II", 0x030141D0, 0)), Unknown(2, 1)),
        (node(2, 2, struct.pack("<III", 0x0A0841D0, 7, 0) + b"\0\0\0"), PciRoot("7")),
        (node(2, 2, struct.pack("<III", 0, 0, 0x0A0341D0) + b"\0PC00\0\0"), PciRoot("PC00")),
        (node(2, 2, struct.pack("<III", 0, 4, 0) + b"PNP0A08\0\0\0"), PciRoot("4")),
        (node(2, 2, bytes(12) + b"\0\0\0"), Unknown(2, 2)),
    ],
)
def test_every_kind_of_device_path_node_is_parsed(raw: bytes, expected: object) -> None:
    assert read_load_option(load_option(raw)).hardware == (expected,)


def test_nodes_after_the_partition_are_not_part_of_the_hardware_path() -> None:
    path = read_load_option(load_option(PCI_ROOT, pci(3), hard_drive(ESP), FILE, usb(1)))
    assert path == DevicePath(hardware=(PciRoot("0"), Pci(3, 0)), partition=ESP)
    assert read_load_option(load_option(hard_drive(ESP), FILE)) == DevicePath(partition=ESP)


def test_a_partition_of_an_mbr_has_no_guid() -> None:
    mbr = node(4, 1, struct.pack("<IQQ16sBB", 1, 2048, 4096, b"\1\2\3\4", 1, 1))
    assert read_load_option(load_option(mbr)) == DevicePath()


def test_only_the_first_of_several_paths_counts() -> None:
    raw = load_option(PCI_ROOT, pci(3), node(0x7F, 0xFF), PCI_ROOT, pci(4))
    assert read_load_option(raw).hardware == (PciRoot("0"), Pci(3, 0))
    instances = load_option(PCI_ROOT, pci(3), node(0x7F, 1), PCI_ROOT, pci(4))
    assert read_load_option(instances).hardware == (PciRoot("0"), Pci(3, 0))


GOOD = load_option(PCI_ROOT, pci(3), usb(1))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "head"),
        (GOOD[:5], "head"),
        (struct.pack("<IH", 1, 4) + b"n\0e\0v\0e\0r\0", "description does not end"),
        (GOOD[:-1], "longer than itself"),
        (load_option(PCI_ROOT)[:-4] + bytes(3), "longer than itself"),
        (load_option(node(1, 1, b"\0")), "has 1 bytes"),
        (load_option(node(4, 1, bytes(37))), "has 37 bytes"),
        (load_option(node(2, 2, bytes(12))), "expanded"),
        (load_option(struct.pack("<BBH", 1, 1, 3)), "shorter than its head"),
        (load_option(struct.pack("<BBH", 1, 1, 0)), "shorter than its head"),
        (load_option(struct.pack("<BBH", 1, 1, 0xFFFF)), "longer than its path"),
        (struct.pack("<IH", 1, 6) + b"\0\0" + pci(1), "does not end"),
        (load_option(*[pci(n % 32) for n in range(MAX_NODES + 1)]), "more than 32 nodes"),
        (load_option(pci(1), optional=bytes(MAX_VARIABLE)), "more than 4096 bytes"),
    ],
)
def test_an_option_that_is_not_well_formed_is_refused_by_its_reason(
    raw: bytes, reason: str
) -> None:
    with pytest.raises(BadLoadOption, match=reason):
        read_load_option(raw)


def test_a_cut_option_is_refused_wherever_it_is_cut() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(BadLoadOption):
            read_load_option(GOOD[:end])
