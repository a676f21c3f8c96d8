"""Attacks on staged images: the one-shot entry names only signed bytes."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.adapters.boot import staging
from phase_boot.adapters.boot.efi_variables import GLOBAL, LOADER, EfiVariables
from phase_boot.adapters.boot.systemd_boot import FEATURES, ONE_SHOT
from phase_boot.handoff.initrd import Initrd
from phase_boot.machine.errors import CannotChainload
from phase_boot.ports.loader import BootPayload
from tests.support.boot_payloads import fetched, payload
from tests.support.kernels import arm64_image, gzipped
from tests.support.loader_partition import Stick


@pytest.fixture
def stick(tmp_path: Path) -> Stick:
    return Stick(tmp_path)


async def assert_nothing_was_ordered(stick: Stick, load: BootPayload, message: str) -> None:
    with pytest.raises(CannotChainload, match=message):
        await stick.loader.stage(load)
    assert stick.one_shot is None
    assert not [path for path in stick.staged if "entries" in path]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def remove(path: Path) -> None:
    path.unlink()


def link(path: Path) -> None:
    elsewhere = path.parent.parent.parent.parent / "elsewhere"
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("file", ["linux", "initrd"])
@pytest.mark.parametrize("change", [flip, cut_short, lengthen, remove, link, pipe])
async def test_staged_bytes_that_change_before_they_are_read_back(
    stick: Stick, file: str, change: Callable[[Path], None]
) -> None:
    """A disk that holds other bytes than were written, or an attacker who writes to it."""

    def meddle(number: int) -> None:
        if number == 1:
            (path,) = stick.esp.root.glob(f"phase-staged/*/{file}")
            change(path)

    stick.esp.unmounted = meddle
    await assert_nothing_was_ordered(
        stick, payload(), "other bytes|another size|nothing can be staged"
    )
    assert stick.staged == {}


async def test_an_entry_that_changes_after_it_was_written(stick: Stick) -> None:
    def meddle(number: int) -> None:
        if number == 2:
            (path,) = stick.esp.root.glob("loader/entries/phase-staged-*")
            path.write_text(path.read_text().replace("quiet", "init=x"))

    stick.esp.unmounted = meddle
    await assert_nothing_was_ordered(stick, payload(), "other bytes|another size")
    assert stick.staged == {}


async def test_an_artifact_that_changed_on_cache_after_it_was_hashed(stick: Stick) -> None:
    """The descriptor is the one that was hashed; what lies under it may still be rotten."""
    load = payload()
    held = bytearray(load.image.read(1 << 20))
    held[-1] ^= 1
    writable = os.open(f"/proc/self/fd/{load.image.fileno()}", os.O_RDWR)
    os.pwrite(writable, held, 0)
    os.close(writable)
    await assert_nothing_was_ordered(stick, load, "no longer what was signed")
    assert stick.staged == {}


async def test_a_kernel_that_unpacks_to_more_than_its_stated_size(stick: Stick) -> None:
    bomb = gzipped(arm64_image(bytes(8 << 20), size=1 << 20))
    await assert_nothing_was_ordered(stick, payload(bomb), "more than its header says")
    assert stick.staged == {}


# ---- a prepared partition -----------------------------------------------------------------------


async def test_a_planted_link_in_the_place_of_our_folder(stick: Stick, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("precious")
    (stick.esp.root / "phase-staged").symlink_to(victim)
    await stick.loader.stage(payload())
    assert (victim / "precious").read_text() == "precious"
    assert list(victim.iterdir()) == [victim / "precious"]
    assert not (stick.esp.root / "phase-staged").is_symlink()


async def test_a_planted_link_in_the_place_of_the_loaders_folder(
    stick: Stick, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    entries = stick.esp.root / "loader" / "entries"
    entries.rename(tmp_path / "aside")
    entries.symlink_to(victim)
    with pytest.raises(CannotChainload):
        await stick.loader.stage(payload())
    assert list(victim.iterdir()) == []
    assert stick.one_shot is None


async def test_planted_files_are_removed_and_other_files_stay(stick: Stick) -> None:
    folder = stick.esp.root / "phase-staged" / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "linux").write_bytes(b"evil")
    entries = stick.esp.root / "loader" / "entries"
    (entries / "phase-staged-0123456789abcdef.conf").write_text("linux /evil\n")
    (entries / "PHASE-STAGED-0123456789ABCDEE.CONF").write_text("linux /evil\n")
    (entries / "phase-staged-mine.conf").write_text("title a neighbour\n")
    assert await stick.loader.unstage() == 3
    assert stick.staged == {"loader/entries/phase-staged-mine.conf": b"title a neighbour\n"}


async def test_a_planted_folder_without_end_ends_and_is_named(stick: Stick) -> None:
    deep = stick.esp.root.joinpath("phase-staged", *["x"] * 50)
    deep.mkdir(parents=True)
    with pytest.raises(CannotChainload, match="deeper folders than Phase Boot makes"):
        await stick.loader.unstage()


async def test_a_planted_crowd_of_files_ends_and_is_named(
    stick: Stick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MAX_REMOVED", 20)
    folder = stick.esp.root / "phase-staged"
    folder.mkdir()
    for number in range(50):
        (folder / str(number)).touch()
    with pytest.raises(CannotChainload, match="more files than Phase Boot stages"):
        await stick.loader.unstage()


async def test_a_planted_huge_file_takes_no_time_and_no_memory(stick: Stick) -> None:
    folder = stick.esp.root / "phase-staged"
    folder.mkdir()
    with (folder / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    assert await stick.loader.unstage() == 1
    assert not folder.exists()


# ---- prepared variables -------------------------------------------------------------------------

HOSTILE = {
    "empty": b"",
    "no attributes": b"\x07",
    "half a character": b"\x07\0\0\0x",
    "no end": b"\x07\0\0\0" + "phase-staged-0123456789abcdef.conf".encode("utf-16-le"),
    "half a pair": b"\x07\0\0\0\x00\xd8\0\0",
    "huge": b"\x07\0\0\0" + b"x\0" * 4_000_000 + b"\0\0",
    "a path": b"\x07\0\0\0" + "../../EFI/x.conf\0".encode("utf-16-le"),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_one_shot_entry_is_neither_trusted_nor_changed(
    stick: Stick, raw: bytes
) -> None:
    (stick.efivars / f"{ONE_SHOT}-{LOADER}").write_bytes(raw)
    assert await stick.loader.unstage() == 0
    assert stick.one_shot == raw


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_variables_never_switch_secure_boot_off(stick: Stick, raw: bytes) -> None:
    (stick.efivars / f"SecureBoot-{GLOBAL}").write_bytes(raw)
    (stick.efivars / f"{FEATURES}-{LOADER}").write_bytes(raw)
    assert (await stick.loader.staging_support()).secure_boot


async def test_a_secure_boot_variable_that_cannot_be_read_counts_as_on(stick: Stick) -> None:
    (stick.efivars / f"SecureBoot-{GLOBAL}").mkdir()
    assert (await stick.loader.staging_support()).secure_boot


async def test_a_firmware_that_drops_the_one_shot_variable(stick: Stick, tmp_path: Path) -> None:
    class Forgetful(EfiVariables):
        def text(self, name: str, vendor: str) -> str | None:
            found = super().text(name, vendor)
            if found and name == ONE_SHOT:
                (tmp_path / "efivars" / f"{name}-{vendor}").write_bytes(struct.pack("<I", 7))
                return super().text(name, vendor)
            return found

    loader = stick.loader
    loader._variables = Forgetful(stick.efivars)  # noqa: SLF001 - the firmware of this machine
    with pytest.raises(CannotChainload, match="did not keep"):
        await loader.stage(payload())
    assert stick.staged == {}


async def test_a_planted_link_in_the_place_of_a_variable(stick: Stick, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (stick.efivars / f"{ONE_SHOT}-{LOADER}").symlink_to(victim)
    with pytest.raises(CannotChainload):
        await stick.loader.stage(payload())
    assert stick.staged == {}
    assert victim.read_text() == "precious"


async def test_an_initrd_whose_rootfs_became_shorter(stick: Stick) -> None:
    load = payload()
    rootfs = fetched("rootfs", b"rootfs" * 1000)
    shorter = os.open(f"/proc/self/fd/{rootfs.fileno()}", os.O_RDWR)
    os.ftruncate(shorter, 100)
    os.close(shorter)
    assert load.initrd is not None
    initrd = Initrd(initramfs=load.initrd.initramfs, document=b"{}", rootfs=rootfs)
    torn = BootPayload(
        image=load.image,
        kernel=load.kernel,
        initrd=initrd,
        cmdline=load.cmdline,
        version=load.version,
    )
    await assert_nothing_was_ordered(stick, torn, "rootfs is no longer what was signed")
    assert stick.staged == {}
