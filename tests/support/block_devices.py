"""A folder with the sysfs, /dev and partition tables of a machine's disks."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from phase_boot.adapters.boot.efi_variables import GLOBAL, LOADER

ESP, SEED, CACHE = (f"7068a5e0-0000-8000-8000-00000000000{n}" for n in (1, 2, 3))
FOREIGN_ESP, FOREIGN_SEED, FOREIGN_CACHE = (
    f"f0e1a5e0-0000-8000-8000-00000000000{n}" for n in (1, 2, 3)
)
NAMES = ("phase-esp", "phase-seed", "phase-cache")
SECTOR = 512

VIRTIO = "pci0000:00/0000:00:03.0/virtio0/block/vda"
NVME = "pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1"
AHCI = "pci0000:00/0000:00:05.0/ata3/host2/target2:0:0/2:0:0:0/block/sda"
VIRTIO_SCSI = "pci0000:00/0000:00:06.0/virtio1/host12/target12:0:3/12:0:3:1/block/sdb"
USB3 = "pci0000:00/0000:00:02.0/usb2/2-1/2-1:1.0/host13/target13:0:0/13:0:0:0/block/sdd"
USB3_NEXT = "pci0000:00/0000:00:02.0/usb2/2-2/2-2:1.0/host15/target15:0:0/15:0:0:0/block/sde"
USB2_HUB = "pci0000:00/0000:00:02.0/usb1/1-2/1-2.1/1-2.1:1.0/host14/target14:0:0/14:0:0:0/block/sdc"
"""Device paths of a stick on each bus of a QEMU q35 machine, as Linux 6.12 shows them."""


@dataclass(frozen=True, slots=True)
class Computer:
    """A machine whose files are below ``root``."""

    root: Path

    def plug(self, at: str, guids: Sequence[str] = (ESP, SEED, CACHE)) -> Path:
        """Plug a stick with partitions of these GUIDs in at ``at`` below /sys/devices."""
        disk = self.root / "sys/devices" / at
        write(disk / "queue/logical_block_size", f"{SECTOR}\n")
        write(disk / "uevent", "DEVTYPE=disk\n")
        self._link(disk)
        for number, name in enumerate(NAMES[: len(guids)], 1):
            infix = "p" if disk.name[-1].isdigit() else ""
            folder = disk / f"{disk.name}{infix}{number}"
            write(folder / "partition", f"{number}\n")
            write(folder / "uevent", f"DEVTYPE=partition\nPARTN={number}\nPARTNAME={name}\n")
            write(folder / "ro", "0\n")
            self._link(folder)
        (self.root / "dev").mkdir(exist_ok=True)
        (self.root / "dev" / disk.name).write_bytes(table(guids))
        return disk

    def controllers(self) -> None:
        """Write the sysfs files of the controllers of the paths above."""
        bridge = self.root / "sys/devices/pci0000:00"
        write(bridge / "firmware_node/uid", "0\n")
        xhci = bridge / "0000:00:02.0"
        for bus, other in ((1, 2), (2, 1)):
            write(xhci / f"usb{bus}/maxchild", "4\n")
            for port in range(1, 5):
                folder = xhci / f"usb{bus}/{bus}-0:1.0/usb{bus}-port{port}"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "peer").symlink_to(
                    xhci / f"usb{other}/{other}-0:1.0/usb{other}-port{port}"
                )
        for ata in range(1, 7):
            write(bridge / f"0000:00:05.0/ata{ata}/ata_port/ata{ata}/port_no", f"{ata}\n")
        write(bridge / "0000:00:04.0/nvme/nvme0/nvme0n1/nsid", "1\n")

    def runs(self, seed: str = SEED) -> None:
        """Write the files that the initramfs leaves."""
        write(self.root / "run/phase-boot/seed", f"{seed}\n")

    @property
    def variables(self) -> Path:
        """The folder of the firmware's variables."""
        folder = self.root / "sys/firmware/efi/efivars"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def loaded_from(self, guid: str, *, attributes: int = 6) -> None:
        """Set the loader's variable to that partition, as systemd-boot does."""
        text = guid.upper().encode("utf-16-le") + b"\0\0"
        path = self.variables / f"LoaderDevicePartUUID-{LOADER}"
        path.write_bytes(struct.pack("<I", attributes) + text)

    def booted(self, *nodes: bytes, number: int = 1) -> None:
        """Set the variables of the boot option that the firmware started."""
        current = self.variables / f"BootCurrent-{GLOBAL}"
        current.write_bytes(struct.pack("<IH", 6, number))
        option = self.variables / f"Boot{number:04X}-{GLOBAL}"
        option.write_bytes(struct.pack("<I", 7) + load_option(*nodes))

    def _link(self, folder: Path) -> None:
        listed = self.root / "sys/class/block"
        listed.mkdir(parents=True, exist_ok=True)
        (listed / folder.name).symlink_to(os.path.relpath(folder, listed))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def table(guids: Sequence[str], *, count: int = 128, width: int = 128) -> bytes:
    """The first sectors of a disk with a GPT."""
    kind = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le
    rows = [(kind + UUID(guid).bytes_le).ljust(width, b"\0") for guid in guids]
    entries = b"".join(rows).ljust(count * width, b"\0")
    return bytes(SECTOR) + header(entries, count=count, width=width) + entries


def header(entries: bytes, **changes: int) -> bytes:
    """The second sector, with a valid checksum."""

    def packed(crc: int) -> bytes:
        fields = {"size": 92, "start": 2, "count": 128, "width": 128} | changes
        places = (1, 1000, 34, 900, bytes(16), fields["start"])
        tail = (fields["count"], fields["width"], zlib.crc32(entries))
        head = (b"EFI PART", 0x10000, fields["size"], crc, 0)
        return struct.pack("<8sIIIIQQQQ16sQIII", *head, *places, *tail)

    return packed(zlib.crc32(packed(0))).ljust(SECTOR, b"\0")


def node(kind: int, subtype: int, body: bytes = b"") -> bytes:
    return struct.pack("<BBH", kind, subtype, 4 + len(body)) + body


END = node(0x7F, 0xFF)
PCI_ROOT = node(2, 1, struct.pack("<II", 0x0A0341D0, 0))


def pci(device: int, function: int = 0) -> bytes:
    return node(1, 1, bytes([function, device]))


def usb(port: int, interface: int = 0) -> bytes:
    return node(3, 5, bytes([port, interface]))


def sata(port: int, multiplier: int = 0xFFFF) -> bytes:
    return node(3, 18, struct.pack("<HHH", port, multiplier, 0))


def scsi(target: int, lun: int) -> bytes:
    return node(3, 2, struct.pack("<HH", target, lun))


def nvme(namespace: int) -> bytes:
    return node(3, 23, struct.pack("<I8x", namespace))


def hard_drive(guid: str) -> bytes:
    return node(4, 1, struct.pack("<IQQ16sBB", 1, 2048, 4096, UUID(guid).bytes_le, 2, 2))


FILE = node(4, 4, "\\EFI\\BOOT\\BOOTX64.EFI\0".encode("utf-16-le"))


def load_option(*nodes: bytes, description: str = "UEFI stick", optional: bytes = b"") -> bytes:
    path = b"".join(nodes) + END
    text = description.encode("utf-16-le") + b"\0\0"
    return struct.pack("<IH", 1, len(path)) + text + path + optional
