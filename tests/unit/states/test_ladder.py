"""The hand-off ladder in a world of fakes: every rung, and what is left behind on each."""

from __future__ import annotations

import asyncio

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_boot import FakeKexec
from phase_boot.drill.fake_mirrors import Site, good_site
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.sample_kernel import ARM64, bzimage, pe
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS, document, signed
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.handoff.initrd import Initrd
from phase_boot.handoff.kernel import Kernel
from phase_boot.handoff.memory import MARGIN
from phase_boot.machine.boot_methods import BootMethods
from phase_boot.machine.graph import State
from phase_boot.ports.kexec import KexecSupport, LoadRefused, Method
from phase_boot.ports.loader import StagingSupport
from phase_boot.ports.operator import Answer, MenuAction
from phase_boot.store.content_store import VerifiedFile
from tests.support.boot_payloads import PROTECTED
from tests.support.kernels import arm64_image, gzipped, uki, zboot

UKI = uki(signed=True)
FORBIDDEN = KexecSupport((), ("kexec is switched off until a restart",))


def site(kernel: bytes = KERNEL, **more: bytes) -> Site:
    """Return a site with another kernel, and with more artifacts than one must have."""
    files = {"kernel": kernel, "initramfs": INITRAMFS, "rootfs": ROOTFS, **more}
    made = good_site(
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
    )
    made.files |= {f"cas/sha256/{Digest.of(data).hex}": data for data in files.values()}
    return made


def test_a_call_that_refused_is_never_tried_again() -> None:
    ladder = BootMethods(remaining=(Method.SEGMENTS, Method.FILE, Method.SEGMENTS))
    refusal = LoadRefused("the running kernel is locked down", errno="EPERM", lasting=True)
    assert ladder.after(refusal).remaining == (Method.FILE,)


def steps(play: Scenario) -> list[tuple[str, str]]:
    """Return the moves of the ladder."""
    return [
        (event["source"], event["trigger"])
        for event in play.of("transition")
        if event["source"] in {"kexec", "chainload"}
    ]


def fetched(play: Scenario) -> list[str]:
    return [event["artifact"] for event in play.of("fetch.done")]


def assert_all_closed(play: Scenario) -> None:
    assert play.boot is not None
    images = play.boot.images
    assert images is not None
    for image in (images.kernel, images.initramfs, images.rootfs, images.uki):
        assert image is None or image.closed


def assert_started_by_the_firmware(play: Scenario, kernel: bytes = KERNEL) -> None:
    assert play.walk.end is State.FIRMWARE
    assert not play.kexec.jumped
    assert play.loader.restarted
    assert play.loader.kernel == kernel
    assert_all_closed(play)
    staged = next(n for n, e in enumerate(play.events, 1) if e["event"] == "loader.staged")
    assert staged in play.lines.flushes


# ---- rung by rung -------------------------------------------------------------------------------


def test_the_other_call_is_tried_when_the_first_refuses() -> None:
    play = scene(peer=good_site())
    play.kexec.refusals = {Method.FILE: LoadRefused("not signed (ENODATA)", errno="ENODATA")}
    assert play.play() is State.TARGET
    assert steps(play) == [("kexec", "other_call"), ("kexec", "jumped")]
    (failed,) = play.of("kexec.failed")
    assert (failed["method"], failed["errno"]) == ("kexec_file_load", "ENODATA")
    assert failed["reason"] == "not signed (ENODATA)"
    assert play.kexec.tried == [Method.FILE, Method.SEGMENTS]
    assert_all_closed(play)


def test_no_call_is_tried_a_second_time() -> None:
    play = scene(peer=good_site())
    play.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    play.play()
    assert play.kexec.tried == [Method.FILE, Method.SEGMENTS]


def test_what_kexec_refuses_is_started_by_the_firmware() -> None:
    play = scene(peer=good_site())
    play.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    assert play.play() is State.FIRMWARE
    assert steps(play) == [
        ("kexec", "other_call"),
        ("kexec", "not_loaded"),
        ("chainload", "staged"),
    ]
    assert_started_by_the_firmware(play)
    assert play.loader.initrd is not None
    assert play.loader.initrd.startswith(INITRAMFS)
    assert play.loader.payload is not None
    assert "phase.version=2025.11.12" in play.loader.payload.cmdline
    assert play.cache.released


def test_the_target_that_the_firmware_starts_can_read_why() -> None:
    play = scene(peer=good_site())
    play.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    play.play()
    assert b"kexec.failed" in (play.loader.initrd or b"")


def test_where_no_rung_holds_a_person_hears_of_each() -> None:
    play = scene(peer=good_site())
    play.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    play.loader.refusal = "the loader's partition has 1.0 MiB left"
    assert play.play() is State.OFF
    for said in ("kexec_file_load: it is damaged", "kexec_load: it is damaged", "1.0 MiB left"):
        assert said in play.cause
    assert not play.loader.restarted
    assert_all_closed(play)


def test_a_jump_that_returns_leads_to_the_firmware_with_images_hashed_anew() -> None:
    play = scene(peer=good_site())
    play.kexec.jump_refusals = ["the jump into the new kernel failed"]
    assert play.play() is State.FIRMWARE
    assert steps(play) == [("kexec", "not_loaded"), ("chainload", "staged")]
    assert_started_by_the_firmware(play)


def test_an_artifact_that_rots_between_jump_and_staging_is_never_staged() -> None:
    play = scene(peer=good_site())
    disk = play.cache.cache
    assert disk is not None

    class Rotting(FakeKexec):
        async def jump(self) -> None:
            from phase_boot.store.disk import Folder  # noqa: PLC0415 - one use

            assert disk is not None
            disk.plant(Folder.ENTRIES, Digest.of(KERNEL).hex, bytes(len(KERNEL)))
            await super().jump()

    play.kexec = Rotting(jump_refusals=["the jump failed"])
    assert play.play() is State.OFF
    assert "not what was signed" in play.cause
    assert play.loader.payload is None


# ---- before the download ------------------------------------------------------------------------


def test_a_machine_that_can_start_nothing_is_told_so_before_the_download() -> None:
    play = scene(peer=good_site())
    play.kexec.can = FORBIDDEN
    play.loader.look = PROTECTED
    assert play.play() is State.OFF
    assert "switched off" in play.cause
    assert "write-protected" in play.cause
    assert play.of("fetch.started") == []


def test_a_machine_without_kexec_goes_straight_to_the_firmware() -> None:
    play = scene(peer=good_site())
    play.kexec.can = FORBIDDEN
    assert play.play() is State.FIRMWARE
    assert steps(play) == [("kexec", "not_loaded"), ("chainload", "staged")]
    assert play.kexec.tried == []
    assert "switched off" in play.of("kernel.inspected")[0]["reason"]
    assert_started_by_the_firmware(play)


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (arm64_image(b"x" * 99), "a Linux Image for arm64, and this machine is amd64"),
        (uki(ARM64), "a unified kernel image for arm64, and this machine is amd64"),
        (b"\x7fELF" + bytes(2000), "its kernel is an ELF file (vmlinux)"),
        (pe(subsystem=3), "its kernel is a program for another system than the firmware"),
        (b"#!/bin/sh\nreboot\n", "its kernel is a script"),
    ],
    ids=["arm64", "uki for arm64", "vmlinux", "windows", "script"],
)
def test_a_kernel_for_something_else_is_refused_by_name_and_the_next_one_is_booted(
    kernel: bytes, said: str
) -> None:
    play = scene(wrong=site(kernel), right=good_site())
    assert play.play() is State.TARGET
    assert play.kexec.kernel == KERNEL
    assert play.boot is not None
    assert said in " ".join(map(str, play.boot.refusals))
    # Nothing but the kernel of the wrong one was asked for.
    assert fetched(play) == ["kernel", "kernel", "initramfs", "rootfs"]


@pytest.mark.parametrize(
    "kernel",
    [uki(), pe(), zboot(b"?", packing=b"zstd", machine=0x8664)],
    ids=["uki", "program", "zboot"],
)
def test_what_the_firmware_alone_can_start_is_left_to_it(kernel: bytes) -> None:
    play = scene(peer=site(kernel))
    assert play.play() is State.FIRMWARE
    assert play.kexec.tried == []
    assert "the firmware alone can start" in play.of("kernel.inspected")[0]["reason"]
    assert_started_by_the_firmware(play, kernel)
    assert (play.loader.initrd is None) == (kernel == uki())


def test_what_the_firmware_alone_can_start_is_refused_where_it_cannot() -> None:
    play = scene(peer=site(uki()))
    play.loader.look = PROTECTED
    assert play.play() is State.OFF
    assert "write-protected" in play.cause
    assert fetched(play) == ["kernel"]


@pytest.mark.parametrize("packed", [gzipped, zboot], ids=["gzip", "zboot"])
def test_a_packed_kernel_for_arm64_is_handed_to_kexec(packed: object) -> None:
    assert callable(packed)
    kernel = packed(arm64_image(b"x" * 999))
    made = site(kernel)
    made.files["stable/arm64/manifest.json"] = signed(
        document(
            arch="arm64",
            mirrors=[],
            artifacts={
                "kernel": str(Digest.of(kernel)),
                "initramfs": str(Digest.of(INITRAMFS)),
                "rootfs": str(Digest.of(ROOTFS)),
            },
            sizes={"kernel": len(kernel), "initramfs": len(INITRAMFS), "rootfs": len(ROOTFS)},
        )
    )
    play = scene("http://peer/stable/arm64/manifest.json", peer=made)
    play.platform.arch = Arch.ARM64
    assert play.play() is State.TARGET
    assert play.kexec.kernel == kernel
    # What it unpacks to is reckoned before the rest is fetched.
    small = scene("http://peer/stable/arm64/manifest.json", peer=made)
    small.platform.arch, small.platform.memory = Arch.ARM64, MARGIN + (1 << 20)
    assert small.play() is State.OFF
    assert "MiB of memory" in small.cause
    assert fetched(small) == ["kernel"]


# ---- secure boot --------------------------------------------------------------------------------


def secure(play: Scenario) -> Scenario:
    play.loader.look = StagingSupport(secure_boot=True)
    return play


def test_under_secure_boot_only_what_was_signed_for_the_firmware_is_staged() -> None:
    play = secure(scene(peer=site(uki=UKI)))
    play.kexec.can = FORBIDDEN
    assert play.play() is State.FIRMWARE
    assert fetched(play)[-1] == "uki"
    assert_started_by_the_firmware(play, UKI)
    assert play.loader.initrd is None


def test_under_secure_boot_a_kernel_without_a_signed_image_is_refused_before_the_download() -> None:
    play = secure(scene(peer=good_site()))
    play.kexec.can = FORBIDDEN
    assert play.play() is State.OFF
    assert "signed images only" in play.cause
    assert fetched(play) == ["kernel"]
    assert play.loader.payload is None


def test_under_secure_boot_a_bare_kernel_is_never_staged() -> None:
    play = secure(scene(peer=site(bzimage(b"kernel", signed=True))))
    play.kexec.refuse("signed by a stranger (ENOKEY)", errno="ENOKEY")
    assert play.play() is State.OFF
    assert "signed images only" in play.cause
    assert play.loader.payload is None


def test_the_signed_image_is_fetched_where_kexec_may_refuse_and_nowhere_else() -> None:
    unsigned = secure(scene(peer=site(uki=UKI)))
    assert unsigned.play() is State.TARGET
    assert "uki" in fetched(unsigned)
    known = secure(scene(peer=site(bzimage(b"kernel", signed=True), uki=UKI)))
    assert known.play() is State.TARGET
    assert "uki" not in fetched(known)
    plain = scene(peer=site(uki=UKI))
    plain.kexec.can = FORBIDDEN
    assert plain.play() is State.FIRMWARE
    assert "uki" not in fetched(plain)


def test_a_signed_image_that_is_a_bare_kernel_is_not_staged() -> None:
    play = secure(scene(peer=site(uki=bzimage(b"other", signed=True))))
    play.kexec.can = FORBIDDEN
    assert play.play() is State.OFF
    assert "the published uki is a bzImage for amd64" in play.cause
    assert play.loader.payload is None


# ---- private ------------------------------------------------------------------------------------


def private(play: Scenario) -> Scenario:
    play.platform.table = policy_table(mode="private", cache_enabled=False)
    return play


def test_in_private_mode_nothing_is_staged_and_nothing_is_cleared() -> None:
    play = private(scene(peer=good_site()))
    play.loader.left = 3
    play.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    assert play.play() is State.OFF
    assert "Private" in play.cause
    assert play.loader.payload is None
    assert play.loader.unstaged == 0
    assert play.cache.notes.pages == {}


def test_what_an_earlier_boot_has_staged_is_cleared_before_anything_is_fetched() -> None:
    play = scene(peer=good_site())
    play.loader.left = 3
    assert play.play() is State.TARGET
    (cleared,) = play.of("loader.cleared")
    assert cleared["files"] == 3


def test_what_cannot_be_cleared_is_said_and_stops_no_boot() -> None:
    play = scene(peer=good_site())
    play.loader.stuck = "the loader's partition cannot be mounted"
    assert play.play() is State.TARGET
    assert play.of("loader.not_cleared")[0]["reason"] == play.loader.stuck


# ---- descriptors --------------------------------------------------------------------------------


class Fainting(FakeKexec):
    """Has an accident in the middle of a load, or never ends it."""

    def __init__(self, accident: BaseException | None = None) -> None:
        super().__init__()
        self.accident = accident

    async def load(
        self, image: VerifiedFile, _kernel: Kernel, initrd: Initrd, _cmdline: str, _method: Method
    ) -> None:
        self.held = image, initrd.initramfs
        if self.accident is None:
            await asyncio.sleep(1e6)
        raise self.accident or AssertionError


def test_a_crash_on_a_rung_leaves_nothing_open() -> None:
    play = scene(peer=good_site())
    play.kexec = Fainting(ZeroDivisionError())
    assert play.play() is State.OFF
    assert play.of("crashed")
    assert_all_closed(play)


def test_a_cancelled_rung_leaves_nothing_open() -> None:
    play = scene(peer=good_site())
    play.kexec = fainting = Fainting()

    async def cancelled() -> None:
        driving = asyncio.create_task(play.driving())
        await asyncio.sleep(60)
        driving.cancel()
        await driving

    with pytest.raises(asyncio.CancelledError):
        virtual_time.run(cancelled())
    assert all(image.closed for image in fainting.held)


def test_a_retry_leaves_nothing_of_the_last_try_open() -> None:
    play = scene(peer=good_site())
    play.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    play.loader.refusal = "the stick is full"
    play.operator.answers = [Answer(MenuAction.RETRY)]
    assert play.play() is State.OFF
    assert play.walk.states.count(State.CHAINLOAD) == 2
    assert_all_closed(play)
