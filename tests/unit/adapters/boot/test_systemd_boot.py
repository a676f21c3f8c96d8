"""Staging on the stick: the order of writes, and the files after a failure."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.adapters.boot.efi_variables import GLOBAL, LOADER, EfiVariables
from phase_boot.adapters.boot.systemd_boot import FEATURES, ONE_SHOT, SystemdBootLoader
from phase_boot.machine.errors import CannotChainload
from phase_boot.ports.loader import StagingSupport
from tests.support.boot_payloads import INITRAMFS, KERNEL, payload
from tests.support.kernels import arm64_image, gzipped, uki
from tests.support.loader_partition import Stick


@pytest.fixture
def stick(tmp_path: Path) -> Stick:
    return Stick(tmp_path)


async def test_a_kernel_is_staged_with_its_initrd_and_its_command_line(stick: Stick) -> None:
    name = await stick.loader.stage(payload())
    assert re.fullmatch(r"phase-staged-[0-9a-f]{16}\.conf", name)
    folder = f"phase-staged/{name[13:29]}"
    staged = stick.staged
    assert set(staged) == {f"{folder}/linux", f"{folder}/initrd", f"loader/entries/{name}"}
    assert staged[f"{folder}/linux"] == KERNEL
    assert staged[f"{folder}/initrd"].startswith(INITRAMFS)
    assert staged[f"loader/entries/{name}"].decode().splitlines() == [
        "title Phase Boot: start 2025.11.12 once",
        "sort-key phase-9",
        "version 2025.11.12",
        f"linux /{folder}/linux",
        f"initrd /{folder}/initrd",
        "options quiet phase.mode=internet",
    ]


async def test_the_one_shot_variable_is_written_last_in_the_loaders_format(stick: Stick) -> None:
    one_shots: list[bytes | None] = []
    stick.esp.unmounted = lambda _number: one_shots.append(stick.one_shot)
    name = await stick.loader.stage(payload())
    assert set(one_shots) == {None}
    assert stick.one_shot == b"\x07\0\0\0" + f"{name}\0".encode("utf-16-le")


async def test_the_entry_is_not_there_before_the_files_were_read_back(stick: Stick) -> None:
    seen: dict[int, set[str]] = {}
    stick.esp.unmounted = lambda number: seen.update({number: set(stick.staged)})
    await stick.loader.stage(payload())
    assert not any("entries" in path for path in seen[1])
    assert any("entries" in path for path in seen[2])
    # A last look, which cannot write.
    assert stick.esp.mounts == [True, True, False]


async def test_a_uki_is_staged_with_its_own_initramfs_and_command_line(stick: Stick) -> None:
    name = await stick.loader.stage(payload(uki(signed=True), whole=True))
    staged = stick.staged
    entry = staged.pop(f"loader/entries/{name}").decode()
    assert list(staged.values()) == [uki(signed=True)]
    assert f"efi /{next(iter(staged))}\n" in entry
    assert "options" not in entry
    assert "initrd" not in entry


async def test_a_packed_kernel_is_staged_unpacked(stick: Stick) -> None:
    inner = arm64_image(b"Image" * 1000)
    await stick.loader.stage(payload(gzipped(inner)))
    assert inner in stick.staged.values()


async def test_earlier_staged_files_are_removed_first(stick: Stick) -> None:
    first = await stick.loader.stage(payload())
    again = await stick.loader.stage(payload())
    assert first != again
    assert len(stick.staged) == 3


async def test_the_next_boot_finds_the_stick_as_it_was(stick: Stick) -> None:
    await stick.loader.stage(payload())
    assert await stick.loader.unstage() == 3
    assert stick.staged == {}
    assert stick.one_shot is None


async def test_a_stick_on_which_nothing_was_staged_is_not_written_to(stick: Stick) -> None:
    assert await stick.loader.unstage() == 0
    assert stick.esp.mounts == [False]


async def test_a_stick_certainly_without_staged_files_is_not_mounted(
    stick: Stick,
) -> None:
    stick.esp.sure = True
    assert await stick.loader.unstage() == 0
    assert stick.esp.mounts == []


async def test_a_one_shot_entry_of_another_program_is_left_alone(stick: Stick) -> None:
    stick.set(ONE_SHOT, LOADER, "windows.conf\0".encode("utf-16-le"))
    assert await stick.loader.unstage() == 0
    assert stick.one_shot is not None


async def test_a_stick_without_a_loader_partition_is_clear(stick: Stick) -> None:
    stick.esp.there = False
    assert await stick.loader.unstage() == 0
    with pytest.raises(CannotChainload, match="no EFI system partition"):
        await stick.loader.stage(payload())


@pytest.mark.parametrize("moment", [1, 2, 3])
async def test_a_power_cut_leaves_a_stick_that_the_next_boot_clears(
    stick: Stick, moment: int
) -> None:
    class PowerCut(BaseException):
        pass

    def cut(number: int) -> None:
        if number == moment:
            raise PowerCut

    loader = stick.loader
    loader._undo = _nobody_is_there_any_more  # type: ignore[method-assign]  # noqa: SLF001 - the power is gone
    stick.esp.unmounted = cut
    with pytest.raises(PowerCut):
        await loader.stage(payload())
    assert stick.one_shot is None
    stick.esp.unmounted = lambda _number: None
    assert len(stick.staged) == await stick.loader.unstage()
    assert stick.staged == {}


async def _nobody_is_there_any_more() -> None:
    pass


async def test_too_little_space_is_reported_before_any_write(
    stick: Stick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phase_boot.adapters.boot.staging.free_space", lambda _root: 1 << 20)
    with pytest.raises(CannotChainload, match=r"has 1\.0 MiB left and the image takes 1\.0"):
        await stick.loader.stage(payload())
    assert stick.staged == {}


@pytest.fixture
def term() -> Iterator[None]:
    earlier = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, earlier)


@pytest.mark.usefixtures("term")
async def test_restarting_asks_systemd_and_ignores_sigterm(stick: Stick) -> None:
    await stick.loader.restart()
    assert stick.reboots.read_text() == "\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.usefixtures("term")
async def test_a_failed_restart_is_reported_with_a_way_out(stick: Stick) -> None:
    earlier = signal.getsignal(signal.SIGTERM)
    loader = SystemdBootLoader(stick.esp, EfiVariables(stick.efivars), reboot=("false",))
    with pytest.raises(CannotChainload, match="restart it by hand"):
        await loader.restart()
    assert signal.getsignal(signal.SIGTERM) is earlier


# ---- what can be known before -------------------------------------------------------------------


async def test_a_stick_that_can_be_staged_on_has_no_obstacle(stick: Stick) -> None:
    assert await stick.loader.staging_support() == StagingSupport()
    assert stick.esp.mounts == []


async def test_secure_boot_is_detected(stick: Stick) -> None:
    stick.set("SecureBoot", GLOBAL, b"\x01")
    assert (await stick.loader.staging_support()).secure_boot
    stick.set("SecureBoot", GLOBAL, b"\x00")
    assert not (await stick.loader.staging_support()).secure_boot


async def test_a_loader_without_one_shot_support_is_an_obstacle(stick: Stick) -> None:
    stick.set(FEATURES, LOADER, bytes(8))
    assert (await stick.loader.staging_support()).obstacle == (
        "the loader of this machine cannot be told what to start"
    )


async def test_a_machine_that_another_loader_started_is_an_obstacle(stick: Stick) -> None:
    (stick.efivars / f"{FEATURES}-{LOADER}").unlink()
    assert "no loader" in str((await stick.loader.staging_support()).obstacle)


async def test_a_stick_that_is_write_protected_is_an_obstacle(stick: Stick) -> None:
    stick.esp.protected = "the stick is write-protected"
    assert (await stick.loader.staging_support()).obstacle == "the stick is write-protected"
    with pytest.raises(CannotChainload, match="write-protected"):
        await stick.loader.stage(payload())
