"""The loader's partition: the disk on which it is searched, and its mount."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phase_boot.adapters.boot.boot_disk import SysfsBootDisk
from phase_boot.adapters.boot.efi_variables import EfiVariables
from phase_boot.adapters.boot.esp import EspFailed, StickEsp
from tests.support.block_devices import (
    ESP,
    FOREIGN_ESP,
    FOREIGN_SEED,
    USB3,
    VIRTIO,
    Computer,
    write,
)


def stick(root: Path, *, copies: bool = False) -> StickEsp:
    """Boot a machine from a virtio disk, with another publisher's stick or a copy beside it."""
    computer = Computer(root)
    computer.controllers()
    computer.runs()
    computer.plug(VIRTIO)
    if copies:
        computer.plug(USB3)
    else:
        computer.plug(USB3, (FOREIGN_ESP, FOREIGN_SEED))
    computer.loaded_from(ESP)
    return esp_of(computer)


def esp_of(computer: Computer) -> StickEsp:
    disk = SysfsBootDisk(EfiVariables(computer.variables), root=computer.root)
    return StickEsp(disk, root=computer.root, where=computer.root / "esp")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let `mount` and `umount` write down how they were called."""
    programs, log = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name in ("mount", "umount"):
        script = programs / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n[ ! -e {log}.{name} ]\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return log


def recorded_calls(calls: Path) -> list[str]:
    return calls.read_text().splitlines() if calls.exists() else []


def break_program(calls: Path, program: str) -> None:
    Path(f"{calls}.{program}").touch()


async def test_the_esp_is_mounted_briefly_and_read_only_by_default(
    tmp_path: Path, calls: Path
) -> None:
    esp = stick(tmp_path)
    async with esp.mounted() as root:
        assert root == tmp_path / "esp"
    async with esp.mounted(writable=True):
        pass
    options = "nodev,nosuid,noexec,noatime,umask=0077"
    where = tmp_path / "esp"
    assert recorded_calls(calls) == [
        f"mount -t vfat -o ro,{options} /dev/vda1 {where}",
        f"umount {where}",
        f"mount -t vfat -o rw,{options} /dev/vda1 {where}",
        f"umount {where}",
    ]


async def test_the_esp_is_unmounted_after_an_exception(tmp_path: Path, calls: Path) -> None:
    esp = stick(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with esp.mounted():
            raise ZeroDivisionError
    assert recorded_calls(calls)[-1].startswith("umount")


@pytest.mark.parametrize("program", ["mount", "umount"])
async def test_a_mount_that_fails_is_named(tmp_path: Path, calls: Path, program: str) -> None:
    esp = stick(tmp_path)
    break_program(calls, program)
    with pytest.raises(EspFailed, match=f"cannot be {'un' * (program == 'umount')}mounted"):
        async with esp.mounted():
            pass


async def test_a_stick_without_an_esp_mounts_nothing(tmp_path: Path, calls: Path) -> None:
    computer = Computer(tmp_path)
    computer.runs()
    disk = computer.plug(VIRTIO)
    computer.loaded_from(ESP)
    write(disk / "vda1/uevent", "PARTN=1\nPARTNAME=of-somebody-else\n")
    async with esp_of(computer).mounted() as root:
        assert root is None
    assert esp_of(computer).obstacle() == "this stick has no EFI system partition"
    assert recorded_calls(calls) == []


async def test_of_two_copies_neither_is_mounted_and_the_reason_is_named(
    tmp_path: Path, calls: Path
) -> None:
    esp = stick(tmp_path, copies=True)
    reason = "a copy of this stick is plugged in; unplug it"
    assert esp.obstacle() == reason
    assert esp.certainly_lacks("EFI")
    with pytest.raises(EspFailed, match=reason):
        async with esp.mounted(writable=True):
            pass
    assert recorded_calls(calls) == []


def test_write_protection_of_the_stick_is_detected_without_mounting(tmp_path: Path) -> None:
    esp = stick(tmp_path)
    assert esp.obstacle() is None
    (tmp_path / "sys/class/block/vda1/ro").write_text("1\n")
    assert esp.obstacle() == "the stick is write-protected"
