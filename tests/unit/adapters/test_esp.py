"""The loader's partition: on which disk it is looked for, and how it is mounted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phase_boot.adapters.esp import EspFailed, StickEsp


def stick(root: Path, *, protected: bool = False) -> None:
    """Describe a stick `sda` and, in the same machine, a disk `nvme0n1` with the same names."""
    for disk, name in (("sda", "sda1"), ("nvme0n1", "nvme0n1p1")):
        folder = root / "sys/class/block" / disk / name
        folder.mkdir(parents=True)
        (folder / "uevent").write_text("DEVTYPE=partition\nPARTNAME=phase-esp\n")
        alone = root / "sys/class/block" / name
        alone.mkdir(parents=True)
        (alone / "ro").write_text("1\n" if protected else "0\n")
    (root / "run/phase-boot").mkdir(parents=True)
    (root / "run/phase-boot/disk").write_text("sda\n")


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


def said(calls: Path) -> list[str]:
    return calls.read_text().splitlines() if calls.exists() else []


def break_program(calls: Path, program: str) -> None:
    Path(f"{calls}.{program}").touch()


async def test_it_is_mounted_for_a_moment_and_read_only_unless_told(
    tmp_path: Path, calls: Path
) -> None:
    stick(tmp_path)
    esp = StickEsp(root=tmp_path, where=tmp_path / "esp")
    async with esp.mounted() as root:
        assert root == tmp_path / "esp"
    async with esp.mounted(writable=True):
        pass
    options = "nodev,nosuid,noexec,noatime,umask=0077"
    where = tmp_path / "esp"
    assert said(calls) == [
        f"mount -t vfat -o ro,{options} /dev/sda1 {where}",
        f"umount {where}",
        f"mount -t vfat -o rw,{options} /dev/sda1 {where}",
        f"umount {where}",
    ]


async def test_it_is_unmounted_also_when_something_goes_wrong_in_it(
    tmp_path: Path, calls: Path
) -> None:
    stick(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with StickEsp(root=tmp_path, where=tmp_path / "esp").mounted():
            raise ZeroDivisionError
    assert said(calls)[-1].startswith("umount")


@pytest.mark.parametrize("program", ["mount", "umount"])
async def test_a_mount_that_fails_is_named(tmp_path: Path, calls: Path, program: str) -> None:
    stick(tmp_path)
    break_program(calls, program)
    with pytest.raises(EspFailed, match=f"cannot be {'un' * (program == 'umount')}mounted"):
        async with StickEsp(root=tmp_path, where=tmp_path / "esp").mounted():
            pass


async def test_a_stick_without_one_mounts_nothing(tmp_path: Path, calls: Path) -> None:
    async with StickEsp(root=tmp_path, where=tmp_path / "esp").mounted() as root:
        assert root is None
    assert said(calls) == []


def test_the_switch_of_the_stick_is_seen_without_mounting(tmp_path: Path) -> None:
    esp = StickEsp(root=tmp_path)
    assert esp.obstacle() == "this stick has no partition for the firmware's loader"
    stick(tmp_path)
    assert esp.obstacle() is None
    (tmp_path / "sys/class/block/sda1/ro").write_text("1\n")
    assert esp.obstacle() == "the stick is write-protected"
