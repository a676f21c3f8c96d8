"""T8: kexec fails in three ways, and the machine is started all the same, once, by its firmware."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from image.lab import Lab
from image.private_stick import PrivateStick
from image.qemu import Machine
from image.serving import provide
from image.stages import REPORT
from phase_boot.store.digest import Digest
from phase_boot.store.layout import manifest_path
from phase_boot.trust.arch import Arch
from phase_boot.trust.document import read_document

from .conftest import (
    AMD64,
    BOOT_SECONDS,
    BOTH,
    CHANNEL,
    Published,
    moves,
    republished,
)

pytestmark = pytest.mark.e2e

GOING_WRONG = ("shell.opened", "crashed")
TO_THE_FIRMWARE = [("kexec", "not_loaded", "chainload"), ("chainload", "staged", "firmware")]
OTHER_CALL = ("kexec", "other_call", "kexec")
STAGED = "phase-staged"

BROKEN = {
    # What kexec asks for and the firmware does not, which starts a PE file.
    Arch.AMD64: (0x1FE, b"\x55\xaa"),
    Arch.ARM64: (56, b"ARM\x64"),
}


def restarting(published: Published, lab: Lab, name: str, cmdline: str = "") -> Machine:
    hardware = replace(published.hardware, reboots=True)
    return Machine(
        published.stick,
        hardware=hardware,
        lab=lab,
        name=f"{name}-{published.arch}",
        cmdline=cmdline,
        deadline=3 * BOOT_SECONDS,
    )


def with_an_unloadable_kernel(published: Published, copy: Path) -> Path:
    """A copy of the SITE whose kernel only the firmware can start, signed by the publisher."""
    kernel = bytearray(published.artifact("kernel").read_bytes())
    offset, magic = BROKEN[published.arch]
    assert kernel[offset : offset + len(magic)] == magic
    kernel[offset : offset + len(magic)] = bytes(len(magic))
    digest = Digest.of(bytes(kernel))
    raw = (published.site / manifest_path(CHANNEL, published.arch)).read_bytes()
    artifacts = read_document(raw)["artifacts"]
    assert isinstance(artifacts, dict)
    # The kernel keeps its size, and is signed as any other is.
    republished(published, copy, artifacts={**artifacts, "kernel": str(digest)})
    (copy / "cas" / "sha256" / digest.hex).write_bytes(kernel)
    return copy


def assert_started_by_the_firmware(machine: Machine, published: Published) -> None:
    """The target runs, from a second start of the machine, and then the stick is as it was."""
    before = PrivateStick(published.stick)
    report = machine.until(REPORT, timeout=2 * BOOT_SECONDS, unless=GOING_WRONG)
    assert machine.boot_of(report) == 2
    assert report.text("version") == str(published.manifest.version)
    assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
    assert moves(machine)[-2:] == TO_THE_FIRMWARE
    (staged,) = machine.named("loader.staged")
    assert staged.text("entry").startswith(STAGED)

    with machine.qmp() as qmp:
        qmp.ask("system_reset")
    machine.until("run.started", timeout=BOOT_SECONDS, unless=GOING_WRONG, boot=3)
    cleared = machine.until("loader.cleared", timeout=BOOT_SECONDS, unless=GOING_WRONG, boot=3)
    assert cleared.number("files") == 3
    machine.stop()
    assert machine.stick.entries() == before.entries()
    assert STAGED not in machine.stick.esp_names()
    assert machine.stick.read_esp("loader/loader.conf").count(b"default") == 1
    for entry in before.entries():
        assert machine.stick.boot_file("linux") == before.boot_file("linux"), entry


@BOTH
def test_a_locked_down_kernel_that_takes_no_image_is_got_around_by_the_firmware(
    arch: Arch, published: Published
) -> None:
    with (
        Lab() as lab,
        restarting(published, lab, "lockdown", "lockdown=integrity") as machine,
    ):
        provide(lab, published.site)
        assert_started_by_the_firmware(machine, published)
        first, *_ = machine.named("kernel.inspected")
        if arch is Arch.ARM64:
            # Debian's kernel has no kexec_file_load there: that is known before the download.
            assert first.text("first") == "chainload"
            assert machine.named("kexec.failed", boot=1) == []
        else:
            (failed,) = machine.named("kexec.failed", boot=1)
            assert failed.text("method") == "kexec_file_load"
            assert failed.text("errno") in {"ENOKEY", "ENODATA", "EKEYREJECTED"}
            assert OTHER_CALL not in moves(machine)


@AMD64
def test_a_kernel_that_is_forbidden_to_load_any_is_got_around_by_the_firmware(
    arch: Arch, published: Published
) -> None:
    disabled = "sysctl.kernel.kexec_load_disabled=1"
    with Lab() as lab, restarting(published, lab, "disabled", disabled) as machine:
        provide(lab, published.site)
        assert_started_by_the_firmware(machine, published)
        assert machine.hardware.arch is arch
        (inspected,) = machine.named("kernel.inspected", boot=1)
        assert inspected.text("first") == "chainload"
        assert "kexec_load_disabled" in inspected.text("reason")


@BOTH
def test_an_image_that_only_the_firmware_can_start_is_started_by_it(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    site = with_an_unloadable_kernel(published, tmp_path / "site")
    with Lab() as lab, restarting(published, lab, "unloadable") as machine:
        provide(lab, site)
        assert_started_by_the_firmware(machine, published)
        failed = machine.named("kexec.failed", boot=1)
        if arch is Arch.AMD64:
            assert [event.text("method") for event in failed] == ["kexec_file_load", "kexec_load"]
            assert {event.text("errno") for event in failed} == {"ENOEXEC"}
            assert OTHER_CALL in moves(machine)
        else:
            # What is left of the header is that of an EFI program: the kernel is not even asked.
            assert failed == []


@AMD64
def test_a_stick_that_is_write_protected_is_named_and_a_person_is_asked(
    arch: Arch, published: Published
) -> None:
    hardware = replace(published.hardware, protected=True)
    with (
        Lab() as lab,
        Machine(
            published.stick,
            hardware=hardware,
            lab=lab,
            name=f"write-protected-{arch}",
            cmdline="sysctl.kernel.kexec_load_disabled=1",
        ) as machine,
    ):
        provide(lab, published.site)
        opened = machine.until("shell.opened", timeout=BOOT_SECONDS, unless=("crashed",))
        assert "the stick is write-protected" in opened.text("cause")
        assert "kexec_load_disabled" in opened.text("cause")
        assert machine.named("fetch.started") == []
