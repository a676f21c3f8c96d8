"""Power cuts at chosen events: the next boot succeeds, and nothing unverified is believed.

Some of the sticks lose what they were not told to flush, all of it or half; what a cut loses and
what not is said at `Machine.cut_power`. `make soak` cuts at every moment, `make e2e` at four.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.disk_image import Cache
from image.lab.event_log import MachineFailed
from image.lab.guest_events import Event
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from image.lab.qemu_args import QEMU_PLATFORMS, Hardware
from image.lab.qmp import Qmp, QmpError
from image.lab.vm_disks import VmDisks
from phase_boot.content.arch import Arch
from tests.support.boot_images import Published
from tests.support.boots import AMD64, BOOT_SECONDS, stored_in

NO_KEXEC = "sysctl.kernel.kexec_load_disabled=1"
"""With it the seed leaves the start to the firmware, and stages what was verified."""
MIB = 1 << 20
STARTS = 3
"""So often is a machine switched on until the target runs: the seed, what it staged, and once more
where the cut came between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When to cut: at the first event `name` that fits, or so many MiB later."""

    name: str
    fits: Callable[[Event], bool]
    cmdline: str = ""
    mib: int = 0
    """Written to the stick after the event."""

    def come(self, event: Event, machine: Machine) -> bool:
        """Whether this is it; where bytes are counted, wait for them."""
        if event.name != self.name or not self.fits(event):
            return False
        if self.mib:
            until_written(machine, self.mib * MIB)
        return True


def at(name: str, **fields: str) -> Moment:
    """At an event with these fields."""
    return Moment(
        name=name,
        fits=lambda event: all(event.text(field) == value for field, value in fields.items()),
    )


def stored(artifact: str, percent: int) -> Moment:
    """When so much of an artifact has been stored."""
    return Moment(
        name="fetch.progress",
        fits=lambda event: (
            event.text("artifact") == artifact
            and event.number("done") * 100 >= event.number("size") * percent
        ),
    )


def staging(moment: Moment, mib: int = 0) -> Moment:
    """On a machine that leaves the start to its firmware, so many MiB after `moment`."""
    return replace(moment, cmdline=NO_KEXEC, mib=mib)


MOMENTS = {
    "store-opened": at("store.opened"),
    "versions-recalled": at("trust.recalled"),
    "manifest-verified": at("manifest.verified"),
    "kernel-begun": stored("kernel", 1),
    "kernel-done": at("fetch.done", artifact="kernel"),
    "initramfs-started": at("fetch.started", artifact="initramfs"),
    "initramfs-done": at("fetch.done", artifact="initramfs"),
    "rootfs-begun": stored("rootfs", 1),
    "rootfs-half": stored("rootfs", 50),
    "rootfs-nearly": stored("rootfs", 80),
    "rootfs-done": at("fetch.done", artifact="rootfs"),
    "kexec-entered": at("state.entered", state="kexec"),
    "kexec-loaded": at("kexec.loaded"),
    "kexec-jump": at("kexec.jump"),
    "staging-entered": staging(at("state.entered", state="chainload")),
    "staging-1-mib": staging(at("state.entered", state="chainload"), 1),
    "staging-6-mib": staging(at("state.entered", state="chainload"), 6),
    "staging-13-mib": staging(at("state.entered", state="chainload"), 13),
    "staging-14-mib": staging(at("state.entered", state="chainload"), 14),
    "staged": staging(at("loader.staged")),
}
WRONG = ("shell.opened", "crashed")
FORGETS = (0.0, 0.5, 1.0)
QUICK = {"rootfs-half"}


def moments() -> list[object]:
    return [
        pytest.param(
            moment,
            forgets,
            id=f"{name}-forgets-{forgets:g}",
            marks=[pytest.mark.e2e, pytest.mark.soak] if name in QUICK else [pytest.mark.soak],
        )
        for (name, moment), forgets in zip(MOMENTS.items(), cycle(FORGETS), strict=False)
    ]


@AMD64
@pytest.mark.parametrize(("moment", "forgets"), moments())
def test_after_a_power_cut_the_next_boot_succeeds(
    arch: Arch, moment: Moment, forgets: float, published: Published, tmp_path: Path
) -> None:
    signed = {each.digest.hex for each in published.manifest.artifacts.values()}
    durable = VmDisks.create(published.stick, QEMU_PLATFORMS[arch].vars, tmp_path)
    durable.stick.select_entry("internet", cmdline=moment.cmdline)
    with Lab() as lab:
        start_provider(lab, published.site)
        machine = Machine(
            durable,
            hardware=replace(published.hardware, lose_unflushed=forgets),
            lab=lab,
            name=f"cut-{arch}",
            cut_power_at=lambda event: moment.come(event, machine),
        )
        with machine:
            machine.wait_for_power_cut(timeout=BOOT_SECONDS)
            assert machine.events_named(REPORT) == []
            done = {event.text("sha256") for event in machine.events_named("fetch.done")}
        assert done <= stored_in(checked(durable, tmp_path)) <= signed

        report = until_reported(published.hardware, durable, lab)
        assert report.text("version") == str(published.manifest.version)
        assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
        assert stored_in(checked(durable, tmp_path)) == signed


def until_written(machine: Machine, more: int) -> None:
    """Wait until the guest has written so many bytes to its stick, or has ended."""
    with suppress(QmpError), machine.qmp() as qmp:
        enough = written(qmp) + more
        while written(qmp) < enough:
            pass


def written(qmp: Qmp) -> int:
    """The bytes that the stick has taken."""
    devices = qmp.execute("query-blockstats")
    assert isinstance(devices, list)
    (stick,) = [each["stats"]["wr_bytes"] for each in devices if each["device"] == "stick"]
    return int(stick)


def until_reported(hardware: Hardware, durable: VmDisks, lab: Lab) -> Event:
    """Switch the machine on until the target reports; a restart ends it here, so once more."""
    for start in range(1, STARTS + 1):
        with Machine(durable, hardware=hardware, lab=lab, name=f"after-cut-{start}") as machine:
            try:
                return machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=WRONG)
            except MachineFailed:
                stopped = any(machine.events_named(name) for name in WRONG)
                if stopped or not machine.events_named("loader.staged") or start == STARTS:
                    raise
    raise AssertionError


def checked(durable: VmDisks, work: Path) -> Cache:
    """The Cache as it is on the stick now: a file system that e2fsck finds nothing wrong with."""
    cache = durable.stick.copy_cache(work)
    cache.check()
    return cache
