"""Too little of something: memory, room on Cache, a file system there at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.disk_image import CACHE
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from image.lab.qemu_args import QEMU_PLATFORMS
from image.lab.vm_disks import VmDisks
from phase_boot.content.arch import Arch
from tests.support.boot_images import Published
from tests.support.boots import AMD64, BOOT_SECONDS, GOING_WRONG, cache_of, replayed, stored_in

pytestmark = pytest.mark.e2e

MIB = 1 << 20
SCARCE_MIB = 320
"""Enough for the seed, and not for an image that is kept in memory and started from there."""
SUPERBLOCKS = (0, 1, 3, 5, 7, 9, 25, 27)
"""The block groups of ext4 that have a copy."""
GROUP_BYTES = 128 * MIB


@AMD64
def test_too_little_memory_is_said_before_the_download(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    small = replace(published.hardware, memory=SCARCE_MIB)
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=small, lab=lab, name=f"small-{arch}", mode="private"
        ) as machine,
    ):
        start_provider(lab, published.site)
        shell = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=(REPORT, "crashed"))
        assert "MiB of memory" in shell.text("cause")
        assert "use a machine with more memory" in shell.text("cause")
        assert machine.events_named("manifest.verified")
        assert machine.events_named("fetch.progress") == []
        assert replayed(machine, tmp_path)[-1] == "shell"


@AMD64
def test_a_full_cache_stops_no_boot(arch: Arch, published: Published, tmp_path: Path) -> None:
    durable = VmDisks.create(published.stick, QEMU_PLATFORMS[arch].vars, tmp_path)
    durable.stick.fill_cache(spare=6 * MIB)
    report, note = boot(durable, published, f"full-{arch}")
    assert report == str(published.manifest.artifacts["rootfs"].digest)
    assert "no room" in note


@AMD64
def test_a_cache_without_a_file_system_stops_no_boot(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    durable = VmDisks.create(published.stick, QEMU_PLATFORMS[arch].vars, tmp_path)
    size = durable.stick.partition_size(CACHE)
    for group in SUPERBLOCKS:
        if group * GROUP_BYTES < size:
            durable.stick.overwrite(CACHE, group * GROUP_BYTES, bytes(range(256)) * 256)
    wrecked = durable.stick.partition(CACHE)
    report, note = boot(durable, published, f"wrecked-{arch}")
    assert report == str(published.manifest.artifacts["rootfs"].digest)
    assert note
    # Nobody has made another file system of it unasked.
    assert durable.stick.partition(CACHE) == wrecked


def boot(durable: VmDisks, published: Published, name: str) -> tuple[str, str]:
    """Boot from memory; the rootfs that runs, and why it was not from Cache."""
    with (
        Lab() as lab,
        Machine(durable, hardware=published.hardware, lab=lab, name=name) as machine,
    ):
        start_provider(lab, published.site)
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        opened = machine.events_named("store.opened")[-1]
        assert opened.fields["persistent"] is False
        machine.stop()
        if name.startswith("full"):
            assert "full" in cache_of(machine).list("/")
            stored_in(cache_of(machine))
        return report.text("rootfs"), opened.text("note")
