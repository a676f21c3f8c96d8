"""The machines that guests run on: QEMU's argument list for each architecture, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from image.lab.guest_events import PORT
from image.lab.network import Nic
from image.lab.power_loss import SECTOR
from image.lab.vm_disks import VmDisks
from phase_boot.content.arch import Arch


class Accel(StrEnum):
    """What runs the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class QemuPlatform:
    """What QEMU needs to be told for one architecture."""

    program: str
    tcg_machine: str
    kvm_machine: str
    tcg_cpu: str
    tcg_threads: str
    """`multi` emulates each processor in a thread of its own. `single` makes a boot some six
    seconds longer, and x86 needs it: its Linux patches code that other processors run, which
    QEMU's threads now and then see half done (`Oops: int3`)."""
    code: Path
    vars: Path
    package: str


QEMU_PLATFORMS: Final = {
    Arch.AMD64: QemuPlatform(
        "qemu-system-x86_64",
        "q35",
        "q35",
        # Of SSE4.1 wasmtime makes use without asking; of SSSE3 OpenSSL does, and emulated that
        # makes hashing three times as slow as without it.
        "qemu64,+sse4.1",
        "single",
        Path("/usr/share/OVMF/OVMF_CODE_4M.fd"),
        Path("/usr/share/OVMF/OVMF_VARS_4M.fd"),
        "ovmf",
    ),
    Arch.ARM64: QemuPlatform(
        "qemu-system-aarch64",
        "virt,gic-version=3",
        "virt,gic-version=host",
        "cortex-a72",
        "multi",
        Path("/usr/share/AAVMF/AAVMF_CODE.fd"),
        Path("/usr/share/AAVMF/AAVMF_VARS.fd"),
        "qemu-efi-aarch64",
    ),
}

LATE_SLOT: Final = 0x10
"""Of the PCI bus; what chooses a slot by itself comes before it."""
DISKS: Final = {
    "virtio": ("-device", "virtio-blk-pci,drive=stick,bootindex=0"),
    "virtio-late": ("-device", f"virtio-blk-pci,drive=stick,bootindex=0,addr={LATE_SLOT:#x}"),
    "usb": (
        *("-device", "qemu-xhci,id=xhci"),
        *("-device", "usb-storage,id=plug,bus=xhci.0,port=2,drive=stick,bootindex=0,removable=on"),
    ),
}

OTHERS: Final = {
    "virtio": "virtio-blk-pci",
    "virtio-last": f"virtio-blk-pci,addr={LATE_SLOT + 2:#x}",
    "nvme": "nvme,serial=other",
    "usb": "usb-storage,bus=xhci.0,port=1,removable=on",
    "usb-alone": "usb-storage,removable=on",
}
"""Where another disk than the stick may be; `usb` is a port before the stick's own."""

CAPTURE: Final = "capture.pcap"
WRITES: Final = "writes.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machine to be: `memory` in MiB, `disk` a key of DISKS, `reboots` whether a reset is one.

    Where `reboots` is false, a guest that resets ends, so that no reboot loop goes unseen.
    `capture` keeps every frame on its cable, in the file CAPTURE of the machine's folder.
    `protected` is the stick's switch against writing.
    `forgets` is the share of what its stick had taken, and was not told to flush, that a power
    cut takes back: 1 is all of it.
    `parallel` emulates the processors at the same time, as a real machine has them, also on an
    architecture where that may kill the guest: for measuring.
    """

    arch: Arch
    memory: int = 768
    cpus: int = 2
    disk: str = "virtio"
    nic_model: str = "virtio-net-pci"
    accel: Accel = Accel.TCG
    reboots: bool = False
    capture: bool = False
    protected: bool = False
    forgets: float = 0.0
    parallel: bool = False
    extra: tuple[str, ...] = ()


def arguments(hardware: Hardware, durable: VmDisks, folder: Path, nic: Nic) -> list[str]:
    """QEMU's argument list for `hardware` with `durable`, whose sockets are in `folder`."""
    board = QEMU_PLATFORMS[hardware.arch]
    tcg = hardware.accel is Accel.TCG
    threads = "multi" if hardware.parallel else board.tcg_threads
    return [
        board.program,
        *("-machine", board.tcg_machine if tcg else board.kvm_machine),
        *("-accel", f"tcg,thread={threads}" if tcg else "kvm"),
        *("-cpu", board.tcg_cpu if tcg else "host"),
        *("-smp", str(hardware.cpus), "-m", str(hardware.memory)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *(() if hardware.reboots else ("-no-reboot",)),
        *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={board.code}"),
        *("-drive", f"if=pflash,format=raw,unit=1,file={durable.variables}"),
        *("-drive", f"if=none,id=stick,{_disk(hardware, durable, folder)}"),
        *DISKS[hardware.disk],
        *("-netdev", _netdev(nic, plain=hardware.capture)),
        *("-device", f"{hardware.nic_model},netdev=net0,mac={nic.mac},romfile="),
        *("-device", "virtio-rng-pci"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", _console(folder), "-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,path={folder / 'qmp.sock'},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=resets,path={folder / 'resets.sock'},server=on,wait=off"),
        *("-mon", "chardev=resets,mode=control"),
        *(("-object", _capture(folder)) if hardware.capture else ()),
        # After the control sockets: when it calls, they are there.
        *("-chardev", f"socket,id=events,path={folder / 'events.sock'}"),
        *("-device", f"virtserialport,chardev=events,name={PORT}"),
        *hardware.extra,
    ]


def beside(disks: Mapping[str, Path]) -> tuple[str, ...]:
    """QEMU's arguments for other disks than the stick: a file for each key of `OTHERS`."""
    controller = ("-device", "qemu-xhci") if "usb-alone" in disks else ()
    words = [*controller]
    for number, (where, file) in enumerate(disks.items()):
        drive = f"other{number}"
        words += ["-drive", f"if=none,id={drive},format=raw,file={file}"]
        words += ["-device", f"{OTHERS[where]},drive={drive}"]
    return tuple(words)


def _disk(hardware: Hardware, durable: VmDisks, folder: Path) -> str:
    if not hardware.forgets:
        protected = ",readonly=on" if hardware.protected else ""
        return f"format=raw{protected},file={durable.disk}"
    file = "driver=raw,{0}.file.driver=file,{0}.file.filename="
    stick, log = f"file.{file.format('file')}{durable.disk}", f"log.{file.format('log')}{folder}"
    return f"driver=blklogwrites,log-sector-size={SECTOR},{stick},{log}/{WRITES}"


def _netdev(nic: Nic, *, plain: bool) -> str:
    # Before version 8 QEMU captures a tap's own header as if it were the frame's beginning.
    return f"{nic.netdev},vnet_hdr=off" if plain and nic.netdev.startswith("tap,") else nic.netdev


def _capture(folder: Path) -> str:
    return f"filter-dump,id=capture,netdev=net0,file={folder / CAPTURE}"


def _console(folder: Path) -> str:
    path, log = folder / "console.sock", folder / "console.log"
    return f"socket,id=console,path={path},server=on,wait=off,logfile={log}"
