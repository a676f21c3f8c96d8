"""Boot#### variables, as any program that ran on the machine may have left them."""

from __future__ import annotations

from phase_boot.firmware.boot_disk import (
    BootDiskUnknown,
    BootVariables,
    BusPath,
    Disk,
    UsbUnit,
    booted_disk,
)
from phase_boot.firmware.load_option import (
    MAX_NODES,
    BadLoadOption,
    Pci,
    PciRoot,
    read_load_option,
)
from tests.fuzz.target import Target
from tests.support.block_devices import (
    ESP,
    FILE,
    PCI_ROOT,
    SEED,
    hard_drive,
    load_option,
    node,
    nvme,
    pci,
    sata,
    scsi,
    usb,
)


def _copy(name: str, port: int) -> Disk:
    device = UsbUnit(root=frozenset({port, port + 4}), ports=(), interface=0, lun=0)
    place = BusPath(root="0", pci=(Pci(2, 0),), device=device)
    return Disk(name=name, guids={1: ESP, 2: SEED}, bus_path=place, location=name)


_COPIES = [_copy("sda", 0), _copy("sdb", 1)]


def one(data: bytes) -> None:
    try:
        path = read_load_option(data)
    except BadLoadOption:
        return
    assert len(path.hardware) <= MAX_NODES
    assert path.partition is None or len(path.partition) == len(ESP)
    try:
        disk = booted_disk(_COPIES, BootVariables(loader=ESP, path=path))
    except BootDiskUnknown:
        return
    # Of two copies one is certain only where every node leads to it.
    assert path.hardware[:2] == (PciRoot("0"), Pci(2, 0))
    assert path.partition in {None, ESP}
    assert disk in _COPIES


TARGET = Target(
    one=one,
    starts={
        "usb": load_option(PCI_ROOT, pci(2), usb(0)),
        "hub": load_option(PCI_ROOT, pci(2), usb(5), usb(0), hard_drive(ESP), FILE),
        "disks": load_option(PCI_ROOT, pci(5), sata(2), scsi(3, 1), nvme(1)),
        "short": load_option(hard_drive(ESP), FILE, optional=b"mark"),
        "expanded": load_option(node(2, 2, bytes(12) + b"PNP0A08\0\0\0")),
    },
    max_len=4200,
    words=(PCI_ROOT, pci(2), usb(0), hard_drive(ESP), b"\x7f\xff\4\0", b"PNP0A03"),
)
