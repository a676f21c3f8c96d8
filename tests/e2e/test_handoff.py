"""T8: kexec fails in three ways, and the machine is started all the same, once, by its firmware."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.disk_image import DiskImage
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from image.lab.qemu_args import QEMU_PLATFORMS
from image.lab.vm_disks import VmDisks
from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.store.layout import manifest_path
from phase_boot.trust.strict_json import read_document
from tests.support.boot_images import CHANNEL, Published
from tests.support.boots import AMD64, ARM64_LATER, BOOT_SECONDS, BOTH, moves, republished

pytestmark = pytest.mark.e2e

GOING_WRONG = ("shell.opened", "crashed")
TO_THE_FIRMWARE = [("kexec", "not_loaded", "chainload"), ("chainload", "staged", "firmware")]
OTHER_CALL = ("kexec", "other_call", "kexec")
STAGED = "phase-staged"
DISABLED = "sysctl.kernel.kexec_load_disabled=1"
RESTART_SECONDS = 60
EFI = {Arch.AMD64: "BOOTX64.EFI", Arch.ARM64: "BOOTAA64.EFI"}

BROKEN = {
    # What kexec asks for and the firmware does not, which starts a PE file.
    Arch.AMD64: (0x1FE, b"\x55\xaa"),
    Arch.ARM64: (56, b"ARM\x64"),
}


@dataclass(frozen=True, slots=True)
class Restarted:
    """A machine that is restarted by switching it off and on, with one stick and one firmware.

    Its three starts: of the seed, of what that has staged, and of the seed again. A reset in place
    would do, if QEMU did not keep what it has translated: it takes minutes to unpack a kernel over
    that.
    """

    published: Published
    lab: Lab
    disks: VmDisks

    def machine(self, name: str) -> Machine:
        arch, hardware = self.published.arch, self.published.hardware
        return Machine(self.disks, hardware=hardware, lab=self.lab, name=f"{name}-{arch}")


@pytest.fixture
def restarted(published: Published, tmp_path: Path) -> Iterator[Restarted]:
    with Lab() as lab:
        variables = QEMU_PLATFORMS[published.arch].vars
        yield Restarted(published, lab, VmDisks.create(published.stick, variables, tmp_path))


def until_it_restarts(machine: Machine) -> None:
    """Wait until the guest has asked for a restart, which ends it here."""
    ended = machine.wait_for("run.ended", timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
    assert ended.text("state") == "firmware"
    give_up = time.monotonic() + RESTART_SECONDS
    while machine.running:
        assert time.monotonic() < give_up, "it does not restart"
        time.sleep(0.2)


def with_an_unloadable_kernel(published: Published, copy: Path) -> Path:
    """A copy of the SITE whose kernel only the firmware can start, signed by the publisher."""
    kernel = bytearray(published.artifact("kernel").read_bytes())
    offset, magic = BROKEN[published.arch]
    assert kernel[offset : offset + len(magic)] == magic
    kernel[offset : offset + len(magic)] = bytes(len(magic))
    digest = Digest.of(bytes(kernel))
    raw = (published.site / manifest_path(CHANNEL, published.arch)).read_bytes()
    signed = read_document(raw)
    artifacts, dags = signed["artifacts"], signed["dags"]
    assert isinstance(artifacts, dict)
    assert isinstance(dags, dict)
    # The kernel keeps its size, and is signed as any other is; nobody has cut it into chunks.
    del dags["kernel"]
    republished(published, copy, artifacts={**artifacts, "kernel": str(digest)}, dags=dags)
    (copy / "cas" / "sha256" / digest.hex).write_bytes(kernel)
    return copy


def assert_started_by_the_firmware(restarted: Restarted, seed: Machine) -> None:
    """The target runs, from a second start of the machine."""
    published, disks = restarted.published, restarted.disks
    until_it_restarts(seed)
    assert moves(seed)[-2:] == TO_THE_FIRMWARE
    (staged,) = seed.events_named("loader.staged")
    assert f"{staged.text('entry')}" in disks.stick.boot_entries()
    assert STAGED in disks.stick.list_esp()

    with restarted.machine("staged") as target:
        report = target.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("run.started",))
        assert report.text("version") == str(published.manifest.version)
        assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
        assert report.text("mode") == "internet"


def assert_the_next_boot_clears_the_stick(restarted: Restarted) -> None:
    """The seed starts again, and the stick is as it was built."""
    disks, built = restarted.disks, DiskImage(restarted.published.stick)
    loader = "EFI/BOOT/" + EFI[restarted.published.arch]
    with restarted.machine("cleared") as again:
        cleared = again.wait_for("loader.cleared", timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        assert cleared.number("files") == 3
    assert disks.stick.boot_entries() == built.boot_entries()
    assert disks.stick.list_esp() == built.list_esp()
    assert disks.stick.read_esp(loader) == built.read_esp(loader)
    for field in ("linux", "initrd"):
        assert disks.stick.boot_file(field) == built.boot_file(field)


@ARM64_LATER
def test_a_locked_down_kernel_that_takes_no_image_is_got_around_by_the_firmware(
    arch: Arch, published: Published, restarted: Restarted
) -> None:
    restarted.disks.stick.select_entry("internet", cmdline="lockdown=integrity")
    with restarted.machine("lockdown") as seed:
        start_provider(restarted.lab, published.site)
        assert_started_by_the_firmware(restarted, seed)
        (inspected,) = seed.events_named("kernel.inspected")
        assert "locked down (integrity)" in inspected.text("reason")
        failed = seed.events_named("kexec.failed")
        if arch is Arch.AMD64:
            assert inspected.text("first") == "kexec_file_load"
            assert [event.text("method") for event in failed] == ["kexec_file_load"]
            assert "locked down" in failed[0].text("reason")
        else:
            # Debian's kernel has no kexec_file_load there: that is known before the download.
            assert inspected.text("first") == "chainload"
            assert failed == []
        assert_the_next_boot_clears_the_stick(restarted)


@AMD64
def test_a_kernel_that_is_forbidden_to_load_any_is_got_around_by_the_firmware(
    arch: Arch, published: Published, restarted: Restarted
) -> None:
    restarted.disks.stick.select_entry("internet", cmdline=DISABLED)
    with restarted.machine("disabled") as seed:
        start_provider(restarted.lab, published.site)
        assert_started_by_the_firmware(restarted, seed)
        (inspected,) = seed.events_named("kernel.inspected")
        assert (inspected.text("first"), inspected.text("arch")) == ("chainload", arch)
        assert "kexec_load_disabled" in inspected.text("reason")


@BOTH
def test_an_image_that_only_the_firmware_can_start_is_started_by_it(
    arch: Arch, published: Published, restarted: Restarted, tmp_path: Path
) -> None:
    restarted.disks.stick.select_entry("internet")
    site = with_an_unloadable_kernel(published, tmp_path / "site")
    with restarted.machine("unloadable") as seed:
        start_provider(restarted.lab, site)
        assert_started_by_the_firmware(restarted, seed)
        failed = seed.events_named("kexec.failed")
        if arch is Arch.AMD64:
            assert [event.text("method") for event in failed] == ["kexec_file_load", "kexec_load"]
            assert {event.text("errno") for event in failed} == {"ENOEXEC"}
            assert OTHER_CALL in moves(seed)
        else:
            # What is left of the header is that of an EFI program: the kernel is not even asked.
            assert failed == []


@AMD64
def test_a_stick_that_is_write_protected_is_named_and_a_person_is_asked(
    arch: Arch, published: Published
) -> None:
    hardware = replace(published.hardware, read_only=True)
    with (
        Lab() as lab,
        Machine(
            published.stick,
            hardware=hardware,
            lab=lab,
            name=f"write-protected-{arch}",
            cmdline=DISABLED,
        ) as machine,
    ):
        start_provider(lab, published.site)
        opened = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=("crashed",))
        assert "the stick is write-protected" in opened.text("cause")
        assert "kexec_load_disabled" in opened.text("cause")
        assert machine.events_named("fetch.started") == []
