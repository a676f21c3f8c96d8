"""QEMU's argument list, computed from a machine's properties without side effects."""

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
    """QEMU's accelerator, which executes the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class QemuPlatform:
    """QEMU's program, machine types, CPU and UEFI firmware for one architecture.

    Attributes:
        tcg_threads: `multi` emulates each processor in a thread of its own. `single` makes a boot
            about six seconds longer, and amd64 needs it: Linux patches code that other processors
            execute, and QEMU's threads sometimes see half a patch (`Oops: int3`).
        package: the Debian package of the firmware.
    """

    program: str
    tcg_machine: str
    kvm_machine: str
    tcg_cpu: str
    tcg_threads: str
    code: Path
    vars: Path
    package: str


QEMU_PLATFORMS: Final = {
    Arch.AMD64: QemuPlatform(
        "qemu-system-x86_64",
        "q35",
        "q35",
        # wasmtime needs SSE4.1. SSSE3 stays off: OpenSSL would use it, and hashing with emulated
        # SSSE3 takes three times as long as without.
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

FIXED_SLOT: Final = 0x10
"""A PCI slot behind all slots that QEMU assigns by itself."""
DISKS: Final = {
    "virtio": ("-device", "virtio-blk-pci,drive=stick,bootindex=0"),
    "virtio-late": ("-device", f"virtio-blk-pci,drive=stick,bootindex=0,addr={FIXED_SLOT:#x}"),
    "usb": (
        *("-device", "qemu-xhci,id=xhci"),
        *("-device", "usb-storage,id=plug,bus=xhci.0,port=2,drive=stick,bootindex=0,removable=on"),
    ),
}
"""How the stick is attached."""

OTHER_DISKS: Final = {
    "virtio": "virtio-blk-pci",
    "virtio-last": f"virtio-blk-pci,addr={FIXED_SLOT + 2:#x}",
    "nvme": "nvme,serial=other",
    "usb": "usb-storage,bus=xhci.0,port=1,removable=on",
    "usb-alone": "usb-storage,removable=on",
}
"""How a disk beside the stick is attached; `usb` is the port before the stick's own."""

CAPTURE: Final = "capture.pcap"
WRITE_LOG: Final = "writes.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Properties of a virtual machine.

    Attributes:
        memory: RAM in MiB.
        disk: how the stick is attached, a key of DISKS.
        allow_reset: a guest that resets boots again. Without, QEMU ends, so that no reset loop
            goes unnoticed.
        capture: record every frame of the network card in the file CAPTURE of the machine's folder.
        read_only: the stick's write protection.
        lose_unflushed: the share of accepted, unflushed writes that the stick loses in a power cut,
            from 0 to 1.
        parallel_tcg: emulate the processors in parallel, as a real machine runs them, also where
            that may crash the guest (see `QemuPlatform.tcg_threads`); for benchmarks.
        extra: further arguments.
    """

    arch: Arch
    memory: int = 768
    cpus: int = 2
    disk: str = "virtio"
    nic_model: str = "virtio-net-pci"
    accel: Accel = Accel.TCG
    allow_reset: bool = False
    capture: bool = False
    read_only: bool = False
    lose_unflushed: float = 0.0
    parallel_tcg: bool = False
    extra: tuple[str, ...] = ()


def arguments(hardware: Hardware, disks: VmDisks, folder: Path, nic: Nic) -> list[str]:
    """Return QEMU's argument list; its sockets and logs are in `folder`."""
    platform = QEMU_PLATFORMS[hardware.arch]
    tcg = hardware.accel is Accel.TCG
    threads = "multi" if hardware.parallel_tcg else platform.tcg_threads
    return [
        platform.program,
        *("-machine", platform.tcg_machine if tcg else platform.kvm_machine),
        *("-accel", f"tcg,thread={threads}" if tcg else "kvm"),
        *("-cpu", platform.tcg_cpu if tcg else "host"),
        *("-smp", str(hardware.cpus), "-m", str(hardware.memory)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *(() if hardware.allow_reset else ("-no-reboot",)),
        *("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={platform.code}"),
        *("-drive", f"if=pflash,format=raw,unit=1,file={disks.variables}"),
        *("-drive", f"if=none,id=stick,{_stick(hardware, disks, folder)}"),
        *DISKS[hardware.disk],
        *("-netdev", _netdev(nic, capture=hardware.capture)),
        *("-device", f"{hardware.nic_model},netdev=net0,mac={nic.mac},romfile="),
        *("-device", "virtio-rng-pci"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", _console(folder), "-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,path={folder / 'qmp.sock'},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-chardev", f"socket,id=resets,path={folder / 'resets.sock'},server=on,wait=off"),
        *("-mon", "chardev=resets,mode=control"),
        *(("-object", _capture(folder)) if hardware.capture else ()),
        # QEMU connects to this socket in the order of the arguments: the control sockets exist
        # when it does.
        *("-chardev", f"socket,id=events,path={folder / 'events.sock'}"),
        *("-device", f"virtserialport,chardev=events,name={PORT}"),
        *hardware.extra,
    ]


def other_disks(disks: Mapping[str, Path]) -> tuple[str, ...]:
    """Return QEMU's arguments for disks beside the stick: a file for each key of OTHER_DISKS."""
    controller = ("-device", "qemu-xhci") if "usb-alone" in disks else ()
    found = [*controller]
    for number, (attachment, file) in enumerate(disks.items()):
        drive = f"other{number}"
        found += ["-drive", f"if=none,id={drive},format=raw,file={file}"]
        found += ["-device", f"{OTHER_DISKS[attachment]},drive={drive}"]
    return tuple(found)


def _stick(hardware: Hardware, disks: VmDisks, folder: Path) -> str:
    if not hardware.lose_unflushed:
        read_only = ",readonly=on" if hardware.read_only else ""
        return f"format=raw{read_only},file={disks.disk}"
    file = "driver=raw,{0}.file.driver=file,{0}.file.filename="
    stick, log = f"file.{file.format('file')}{disks.disk}", f"log.{file.format('log')}{folder}"
    return f"driver=blklogwrites,log-sector-size={SECTOR},{stick},{log}/{WRITE_LOG}"


def _netdev(nic: Nic, *, capture: bool) -> str:
    # Before version 8, QEMU's captures of a tap device begin with the virtio header of each frame.
    return f"{nic.netdev},vnet_hdr=off" if capture and nic.netdev.startswith("tap,") else nic.netdev


def _capture(folder: Path) -> str:
    return f"filter-dump,id=capture,netdev=net0,file={folder / CAPTURE}"


def _console(folder: Path) -> str:
    path, log = folder / "console.sock", folder / "console.log"
    return f"socket,id=console,path={path},server=on,wait=off,logfile={log}"
