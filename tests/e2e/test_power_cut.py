"""Power cuts at chosen events: the next boot succeeds, and nothing unverified is believed.

What a cut loses and what not is said at `Machine.kill`. `make soak` cuts at every moment,
`make e2e` at four.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from image.durable import Durable
from image.guest_events import Event
from image.hardware import BOARDS
from image.lab import Lab
from image.private_stick import Cache
from image.qemu import Machine
from image.serving import provide
from image.stages import REPORT
from phase_boot.trust.arch import Arch

from .conftest import AMD64, BOOT_SECONDS, GOING_WRONG, Published, stored_in

NO_KEXEC = "sysctl.kernel.kexec_load_disabled=1"
"""With it the seed leaves the start to the firmware, and stages what was verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When to cut: at the first event `name` whose fields are these and that fits `holds`."""

    name: str
    fields: dict[str, str]
    holds: Callable[[Event], bool]
    cmdline: str = ""

    def __call__(self, event: Event) -> bool:
        """Whether this is it."""
        return (
            event.name == self.name
            and all(event.text(field) == value for field, value in self.fields.items())
            and self.holds(event)
        )


def at(name: str, *, cmdline: str = "", **fields: str) -> Moment:
    return Moment(name=name, fields=fields, holds=lambda _event: True, cmdline=cmdline)


def loaded(artifact: str, percent: int) -> Moment:
    """When so much of an artifact has been stored."""
    return Moment(
        name="fetch.progress",
        fields={"artifact": artifact},
        holds=lambda event: event.number("done") * 100 >= event.number("size") * percent,
    )


FETCHING = {
    "store-opened": at("store.opened"),
    "versions-recalled": at("trust.recalled"),
    "candidate-found": at("candidate.found"),
    "manifest-verified": at("manifest.verified"),
    "fetch-entered": at("state.entered", state="fetch"),
    "kernel-started": at("fetch.started", artifact="kernel"),
    "kernel-begun": loaded("kernel", 1),
    "kernel-done": at("fetch.done", artifact="kernel"),
    "initramfs-started": at("fetch.started", artifact="initramfs"),
    "initramfs-done": at("fetch.done", artifact="initramfs"),
    "rootfs-started": at("fetch.started", artifact="rootfs"),
    "rootfs-begun": loaded("rootfs", 1),
    "rootfs-half": loaded("rootfs", 50),
    "rootfs-nearly": loaded("rootfs", 80),
    "rootfs-done": at("fetch.done", artifact="rootfs"),
    "kexec-entered": at("state.entered", state="kexec"),
    "kexec-loaded": at("kexec.loaded"),
    "kexec-jump": at("kexec.jump"),
}
QUICK = {"manifest-verified", "rootfs-half", "rootfs-done"}


def moments() -> list[object]:
    return [
        pytest.param(
            moment,
            id=name,
            marks=[pytest.mark.e2e, pytest.mark.soak] if name in QUICK else [pytest.mark.soak],
        )
        for name, moment in FETCHING.items()
    ]


@AMD64
@pytest.mark.parametrize("moment", moments())
def test_after_a_power_cut_the_next_boot_succeeds(
    arch: Arch, moment: Moment, published: Published, tmp_path: Path
) -> None:
    signed = {each.digest.hex for each in published.manifest.artifacts.values()}
    hardware = replace(published.hardware, reboots=True)
    durable = Durable.fresh(published.stick, BOARDS[arch].vars, tmp_path)
    durable.stick.choose("internet", cmdline=moment.cmdline)
    with Lab() as lab:
        provide(lab, published.site)
        with Machine(
            durable, hardware=hardware, lab=lab, name=f"cut-{arch}", cut=moment
        ) as machine:
            machine.until_cut(timeout=BOOT_SECONDS)
            assert machine.named(REPORT) == []
        assert stored_in(checked(durable, tmp_path)) <= signed

        with Machine(durable, hardware=hardware, lab=lab, name=f"after-cut-{arch}") as machine:
            report = machine.until(REPORT, timeout=BOOT_SECONDS, unless=GOING_WRONG)
            machine.stop()
        assert report.text("version") == str(published.manifest.version)
        assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
        assert stored_in(checked(durable, tmp_path)) == signed


def checked(durable: Durable, work: Path) -> Cache:
    """The Cache as it is on the stick now: a file system that e2fsck finds nothing wrong with."""
    cache = durable.stick.cache(work)
    cache.check()
    return cache
