from __future__ import annotations

from pathlib import Path

import pytest

from image.lab.network import Nic
from image.lab.qemu_args import DISKS, Accel, Hardware, arguments
from image.lab.vm_disks import VmDisks
from phase_boot.content.arch import Arch

NIC = Nic("52:54:00:77:00:00", "tap0", "tap,id=net0,ifname=tap0,script=no,downscript=no")
FOLDER = Path("/tmp/vm")  # noqa: S108 - nothing is made there


def valued(argv: list[str], option: str) -> list[str]:
    return [argv[at + 1] for at, word in enumerate(argv) if word == option]


@pytest.mark.parametrize(
    ("arch", "program", "machine"),
    [
        (Arch.AMD64, "qemu-system-x86_64", "q35"),
        (Arch.ARM64, "qemu-system-aarch64", "virt,gic-version=3"),
    ],
)
def test_each_architecture_boots_its_own_firmware(arch: Arch, program: str, machine: str) -> None:
    argv = arguments(Hardware(arch=arch), VmDisks(FOLDER), FOLDER, NIC)
    assert argv[0] == program
    assert valued(argv, "-machine") == [machine]
    assert valued(argv, "-m") == ["768"]
    flash = [value for value in valued(argv, "-drive") if "if=pflash" in value]
    assert "readonly=on" in flash[0]
    assert flash[1].endswith("file=/tmp/vm/vars.fd")


@pytest.mark.parametrize("disk", DISKS)
def test_the_stick_is_a_copy_and_boots_first(disk: str) -> None:
    argv = arguments(Hardware(arch=Arch.AMD64, disk=disk), VmDisks(FOLDER), FOLDER, NIC)
    assert "if=none,id=stick,format=raw,file=/tmp/vm/stick.img" in valued(argv, "-drive")
    (stick,) = [value for value in valued(argv, "-device") if "drive=stick" in value]
    assert "bootindex=0" in stick


def test_the_network_card_is_connected_to_the_lab_and_events_to_their_port() -> None:
    argv = arguments(Hardware(arch=Arch.AMD64), VmDisks(FOLDER), FOLDER, NIC)
    assert valued(argv, "-netdev") == [NIC.netdev]
    devices = valued(argv, "-device")
    assert "virtio-net-pci,netdev=net0,mac=52:54:00:77:00:00,romfile=" in devices
    assert "virtserialport,chardev=events,name=org.phase_boot.events" in devices


def test_a_reset_ends_qemu_unless_resets_are_allowed() -> None:
    assert "-no-reboot" in arguments(Hardware(arch=Arch.AMD64), VmDisks(FOLDER), FOLDER, NIC)
    assert "-no-reboot" not in arguments(
        Hardware(arch=Arch.AMD64, allow_reset=True), VmDisks(FOLDER), FOLDER, NIC
    )


def test_kvm_has_the_hosts_cpu_and_tcg_its_threads() -> None:
    native = arguments(Hardware(arch=Arch.AMD64, accel=Accel.KVM), VmDisks(FOLDER), FOLDER, NIC)
    assert (valued(native, "-accel"), valued(native, "-cpu")) == (["kvm"], ["host"])
    emulated = arguments(Hardware(arch=Arch.ARM64), VmDisks(FOLDER), FOLDER, NIC)
    assert valued(emulated, "-accel") == ["tcg,thread=multi"]
    # Linux on amd64 patches code that other processors execute, which parallel TCG gets wrong.
    patching = arguments(Hardware(arch=Arch.AMD64), VmDisks(FOLDER), FOLDER, NIC)
    assert valued(patching, "-accel") == ["tcg,thread=single"]
    measured = arguments(Hardware(arch=Arch.AMD64, parallel_tcg=True), VmDisks(FOLDER), FOLDER, NIC)
    assert valued(measured, "-accel") == ["tcg,thread=multi"]
    assert valued(emulated, "-cpu") == ["cortex-a72"]


def test_a_capture_holds_frames_without_a_tap_header() -> None:
    argv = arguments(Hardware(arch=Arch.AMD64, capture=True), VmDisks(FOLDER), FOLDER, NIC)
    assert valued(argv, "-netdev") == [NIC.netdev + ",vnet_hdr=off"]
    assert "filter-dump,id=capture,netdev=net0,file=/tmp/vm/capture.pcap" in valued(argv, "-object")
    assert "-object" not in arguments(Hardware(arch=Arch.AMD64), VmDisks(FOLDER), FOLDER, NIC)
