"""Boot methods: kexec and chainload among fakes, and the files that each leaves."""

from __future__ import annotations

import asyncio

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_boot import FakeKexec
from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.sample_kernel import ARM64, bzimage, pe
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS, document, signed
from phase_boot.drill.scenario import Scenario, lan_scenario
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


def server(kernel: bytes = KERNEL, **more: bytes) -> FakeServer:
    """Return a server with another kernel, and with more artifacts than one must have."""
    files = {"kernel": kernel, "initramfs": INITRAMFS, "rootfs": ROOTFS, **more}
    made = good_server(
        artifacts={name: str(Digest.of(data)) for name, data in files.items()},
        sizes={name: len(data) for name, data in files.items()},
    )
    made.files |= {f"cas/sha256/{Digest.of(data).hex}": data for data in files.values()}
    return made


def test_a_kexec_call_that_refused_is_not_tried_again() -> None:
    ladder = BootMethods(remaining=(Method.SEGMENTS, Method.FILE, Method.SEGMENTS))
    refusal = LoadRefused("the running kernel is locked down", errno="EPERM", lasting=True)
    assert ladder.after(refusal).remaining == (Method.FILE,)


def steps(scenario: Scenario) -> list[tuple[str, str]]:
    """Return the moves of the ladder."""
    return [
        (event["source"], event["trigger"])
        for event in scenario.of("transition")
        if event["source"] in {"kexec", "chainload"}
    ]


def fetched(scenario: Scenario) -> list[str]:
    return [event["artifact"] for event in scenario.of("fetch.done")]


def assert_all_closed(scenario: Scenario) -> None:
    assert scenario.boot is not None
    images = scenario.boot.images
    assert images is not None
    for image in (images.kernel, images.initramfs, images.rootfs, images.uki):
        assert image is None or image.closed


def assert_started_by_the_firmware(scenario: Scenario, kernel: bytes = KERNEL) -> None:
    assert scenario.walk.end is State.FIRMWARE
    assert not scenario.kexec.jumped
    assert scenario.loader.restarted
    assert scenario.loader.kernel == kernel
    assert_all_closed(scenario)
    staged = next(n for n, e in enumerate(scenario.events, 1) if e["event"] == "loader.staged")
    assert staged in scenario.journal.flushes


# ---- rung by rung -------------------------------------------------------------------------------


def test_the_second_kexec_call_is_tried_when_the_first_refuses() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.refusals = {Method.FILE: LoadRefused("not signed (ENODATA)", errno="ENODATA")}
    assert scenario.run() is State.TARGET
    assert steps(scenario) == [("kexec", "other_call"), ("kexec", "jumped")]
    (failed,) = scenario.of("kexec.failed")
    assert (failed["method"], failed["errno"]) == ("kexec_file_load", "ENODATA")
    assert failed["reason"] == "not signed (ENODATA)"
    assert scenario.kexec.tried == [Method.FILE, Method.SEGMENTS]
    assert_all_closed(scenario)


def test_each_kexec_call_is_tried_once() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    scenario.run()
    assert scenario.kexec.tried == [Method.FILE, Method.SEGMENTS]


def test_an_image_that_kexec_refuses_is_started_by_the_firmware() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    assert scenario.run() is State.FIRMWARE
    assert steps(scenario) == [
        ("kexec", "other_call"),
        ("kexec", "not_loaded"),
        ("chainload", "staged"),
    ]
    assert_started_by_the_firmware(scenario)
    assert scenario.loader.initrd is not None
    assert scenario.loader.initrd.startswith(INITRAMFS)
    assert scenario.loader.payload is not None
    assert "phase.version=2025.11.12" in scenario.loader.payload.cmdline
    assert scenario.cache.released


def test_the_target_that_the_firmware_starts_can_read_why() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    scenario.run()
    assert b"kexec.failed" in (scenario.loader.initrd or b"")


def test_if_no_boot_method_works_the_operator_gets_the_reason_of_each() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    scenario.loader.refusal = "the loader's partition has 1.0 MiB left"
    assert scenario.run() is State.OFF
    for message in ("kexec_file_load: it is damaged", "kexec_load: it is damaged", "1.0 MiB left"):
        assert message in scenario.cause
    assert not scenario.loader.restarted
    assert_all_closed(scenario)


def test_a_returning_jump_leads_to_chainload_with_images_hashed_again() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.jump_refusals = ["the jump into the new kernel failed"]
    assert scenario.run() is State.FIRMWARE
    assert steps(scenario) == [("kexec", "not_loaded"), ("chainload", "staged")]
    assert_started_by_the_firmware(scenario)


def test_an_artifact_that_rots_between_jump_and_staging_is_never_staged() -> None:
    scenario = lan_scenario(peer=good_server())
    disk = scenario.cache.cache
    assert disk is not None

    class Rotting(FakeKexec):
        async def jump(self) -> None:
            from phase_boot.store.disk import Folder  # noqa: PLC0415 - one use

            assert disk is not None
            disk.add_file(Folder.ENTRIES, Digest.of(KERNEL).hex, bytes(len(KERNEL)))
            await super().jump()

    scenario.kexec = Rotting(jump_refusals=["the jump failed"])
    assert scenario.run() is State.OFF
    assert "not what was signed" in scenario.cause
    assert scenario.loader.payload is None


# ---- before the download ------------------------------------------------------------------------


def test_a_machine_without_a_boot_method_is_reported_before_the_download() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.supported = FORBIDDEN
    scenario.loader.support = PROTECTED
    assert scenario.run() is State.OFF
    assert "switched off" in scenario.cause
    assert "write-protected" in scenario.cause
    assert scenario.of("fetch.started") == []


def test_a_machine_without_kexec_goes_straight_to_the_firmware() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.supported = FORBIDDEN
    assert scenario.run() is State.FIRMWARE
    assert steps(scenario) == [("kexec", "not_loaded"), ("chainload", "staged")]
    assert scenario.kexec.tried == []
    assert "switched off" in scenario.of("kernel.inspected")[0]["reason"]
    assert_started_by_the_firmware(scenario)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (arm64_image(b"x" * 99), "a Linux Image for arm64, and this machine is amd64"),
        (uki(ARM64), "a unified kernel image for arm64, and this machine is amd64"),
        (b"\x7fELF" + bytes(2000), "its kernel is an ELF file (vmlinux)"),
        (pe(subsystem=3), "its kernel is a program for another system than the firmware"),
        (b"#!/bin/sh\nreboot\n", "its kernel is a script"),
    ],
    ids=["arm64", "uki for arm64", "vmlinux", "windows", "script"],
)
def test_an_unusable_kernel_is_refused_by_name_and_the_next_candidate_boots(
    kernel: bytes, message: str
) -> None:
    scenario = lan_scenario(wrong=server(kernel), right=good_server())
    assert scenario.run() is State.TARGET
    assert scenario.kexec.kernel == KERNEL
    assert scenario.boot is not None
    assert message in " ".join(map(str, scenario.boot.refusals))
    # Nothing but the kernel of the wrong one was asked for.
    assert fetched(scenario) == ["kernel", "kernel", "initramfs", "rootfs"]


@pytest.mark.parametrize(
    "kernel",
    [uki(), pe(), zboot(b"?", packing=b"zstd", machine=0x8664)],
    ids=["uki", "program", "zboot"],
)
def test_an_image_for_the_firmware_alone_is_chainloaded(kernel: bytes) -> None:
    scenario = lan_scenario(peer=server(kernel))
    assert scenario.run() is State.FIRMWARE
    assert scenario.kexec.tried == []
    assert "the firmware alone can start" in scenario.of("kernel.inspected")[0]["reason"]
    assert_started_by_the_firmware(scenario, kernel)
    assert (scenario.loader.initrd is None) == (kernel == uki())


def test_an_image_for_the_firmware_alone_is_refused_without_chainload() -> None:
    scenario = lan_scenario(peer=server(uki()))
    scenario.loader.support = PROTECTED
    assert scenario.run() is State.OFF
    assert "write-protected" in scenario.cause
    assert fetched(scenario) == ["kernel"]


@pytest.mark.parametrize("packed", [gzipped, zboot], ids=["gzip", "zboot"])
def test_a_packed_kernel_for_arm64_is_handed_to_kexec(packed: object) -> None:
    assert callable(packed)
    kernel = packed(arm64_image(b"x" * 999))
    made = server(kernel)
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
    scenario = lan_scenario("http://peer/stable/arm64/manifest.json", peer=made)
    scenario.platform.arch = Arch.ARM64
    assert scenario.run() is State.TARGET
    assert scenario.kexec.kernel == kernel
    # What it unpacks to is reckoned before the rest is fetched.
    small = lan_scenario("http://peer/stable/arm64/manifest.json", peer=made)
    small.platform.arch, small.platform.memory = Arch.ARM64, MARGIN + (1 << 20)
    assert small.run() is State.OFF
    assert "MiB of memory" in small.cause
    assert fetched(small) == ["kernel"]


# ---- secure boot --------------------------------------------------------------------------------


def secure(scenario: Scenario) -> Scenario:
    scenario.loader.support = StagingSupport(secure_boot=True)
    return scenario


def test_under_secure_boot_only_an_image_signed_for_the_firmware_is_staged() -> None:
    scenario = secure(lan_scenario(peer=server(uki=UKI)))
    scenario.kexec.supported = FORBIDDEN
    assert scenario.run() is State.FIRMWARE
    assert fetched(scenario)[-1] == "uki"
    assert_started_by_the_firmware(scenario, UKI)
    assert scenario.loader.initrd is None


def test_under_secure_boot_a_kernel_without_a_signed_image_is_refused_before_the_download() -> None:
    scenario = secure(lan_scenario(peer=good_server()))
    scenario.kexec.supported = FORBIDDEN
    assert scenario.run() is State.OFF
    assert "signed images only" in scenario.cause
    assert fetched(scenario) == ["kernel"]
    assert scenario.loader.payload is None


def test_under_secure_boot_a_bare_kernel_is_never_staged() -> None:
    scenario = secure(lan_scenario(peer=server(bzimage(b"kernel", signed=True))))
    scenario.kexec.refuse("signed by a stranger (ENOKEY)", errno="ENOKEY")
    assert scenario.run() is State.OFF
    assert "signed images only" in scenario.cause
    assert scenario.loader.payload is None


def test_the_uki_is_fetched_only_if_kexec_may_refuse() -> None:
    unsigned = secure(lan_scenario(peer=server(uki=UKI)))
    assert unsigned.run() is State.TARGET
    assert "uki" in fetched(unsigned)
    known = secure(lan_scenario(peer=server(bzimage(b"kernel", signed=True), uki=UKI)))
    assert known.run() is State.TARGET
    assert "uki" not in fetched(known)
    plain = lan_scenario(peer=server(uki=UKI))
    plain.kexec.supported = FORBIDDEN
    assert plain.run() is State.FIRMWARE
    assert "uki" not in fetched(plain)


def test_a_signed_image_that_is_a_bare_kernel_is_not_staged() -> None:
    scenario = secure(lan_scenario(peer=server(uki=bzimage(b"other", signed=True))))
    scenario.kexec.supported = FORBIDDEN
    assert scenario.run() is State.OFF
    assert "the published uki is a bzImage for amd64" in scenario.cause
    assert scenario.loader.payload is None


# ---- private ------------------------------------------------------------------------------------


def private(scenario: Scenario) -> Scenario:
    scenario.platform.table = policy_table(mode="private", cache_enabled=False)
    return scenario


def test_in_private_mode_nothing_is_staged_and_nothing_is_cleared() -> None:
    scenario = private(lan_scenario(peer=good_server()))
    scenario.loader.leftovers = 3
    scenario.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    assert scenario.run() is State.OFF
    assert "Private" in scenario.cause
    assert scenario.loader.payload is None
    assert scenario.loader.unstaged == 0
    assert scenario.cache.state_files.files == {}


def test_files_staged_by_an_earlier_boot_are_removed_before_anything_is_fetched() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.loader.leftovers = 3
    assert scenario.run() is State.TARGET
    (cleared,) = scenario.of("loader.cleared")
    assert cleared["files"] == 3


def test_staged_files_that_cannot_be_removed_are_reported_and_stop_no_boot() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.loader.unstage_refusal = "the loader's partition cannot be mounted"
    assert scenario.run() is State.TARGET
    assert scenario.of("loader.not_cleared")[0]["reason"] == scenario.loader.unstage_refusal


# ---- descriptors --------------------------------------------------------------------------------


class CrashingKexec(FakeKexec):
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


def test_a_crash_in_a_boot_method_leaves_no_descriptor_open() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec = CrashingKexec(ZeroDivisionError())
    assert scenario.run() is State.OFF
    assert scenario.of("crashed")
    assert_all_closed(scenario)


def test_a_cancelled_boot_method_leaves_no_descriptor_open() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec = fainting = CrashingKexec()

    async def cancelled() -> None:
        driving = asyncio.create_task(scenario.drive())
        await asyncio.sleep(60)
        driving.cancel()
        await driving

    with pytest.raises(asyncio.CancelledError):
        virtual_time.run(cancelled())
    assert all(image.closed for image in fainting.held)


def test_a_retry_leaves_no_descriptor_of_the_last_attempt_open() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    scenario.loader.refusal = "the stick is full"
    scenario.operator.answers = [Answer(MenuAction.RETRY)]
    assert scenario.run() is State.OFF
    assert scenario.walk.states.count(State.CHAINLOAD) == 2
    assert_all_closed(scenario)
