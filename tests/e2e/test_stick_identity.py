"""Which stick a machine uses that has several: another publisher's, copies, one that is late."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from image.lab.boot_timing import REPORT
from image.lab.disk_image import DiskImage
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from image.lab.qemu_args import QEMU_PLATFORMS, other_disks
from image.lab.vm_disks import VmDisks
from phase_boot.content.arch import Arch
from tests.support.boot_images import Published
from tests.support.boots import AMD64, BOOT_SECONDS, GOING_WRONG, cache_of, stored_in

pytestmark = pytest.mark.e2e_all

ARM64 = pytest.mark.parametrize("arch", [Arch.ARM64], ids=str)
QUIET_SECONDS = 1.0
"""So long nothing is read from the stick when the kernel has been started from it."""
LATE_SECONDS = 45.0
FORMER_BOUND = 30.0
"""Seconds of the guest's clock, which begins with its kernel, after which it once gave up."""


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def boot_beside(
    published: Published, others: Mapping[str, Path], disk: str, folder: Path, name: str
) -> None:
    """Boot from `disk` among `others`; its own Cache is used, and no byte of another disk changes.

    Only the published stick's root of trust accepts what the provider has.
    """
    durable = VmDisks.create(published.stick, QEMU_PLATFORMS[published.arch].vars, folder)
    copies = {}
    for where, image in others.items():
        copies[where] = DiskImage.copy_of(image, folder / f"{where}.img").path
    before = {where: digest(path) for where, path in copies.items()}
    hardware = replace(published.hardware, disk=disk, extra=other_disks(copies))
    with Lab() as lab, Machine(durable, hardware=hardware, lab=lab, name=name) as machine:
        start_provider(lab, published.site)
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        assert report.text("version") == str(published.manifest.version)
        assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
        (opened,) = machine.events_named("store.opened")
        assert opened.fields["persistent"] is True
        # What Plasma keeps goes to the Cache that the target took.
        machine.wait_for("plasma.done", timeout=BOOT_SECONDS)
        machine.stop()
        cache = cache_of(machine)
        signed = {each.digest.hex for each in published.manifest.artifacts.values()}
        assert stored_in(cache) == signed
        assert cache.list("/plasma/receipts")
    assert {where: digest(path) for where, path in copies.items()} == before


@AMD64
def test_a_virtio_stick_among_sticks_of_another_publisher_before_and_after_it(
    arch: Arch, published: Published, foreign: Path, tmp_path: Path
) -> None:
    others = dict.fromkeys(("virtio", "virtio-last", "usb-alone"), foreign)
    boot_beside(published, others, "virtio-late", tmp_path, f"foreign-{arch}")


@ARM64
def test_a_usb_stick_among_sticks_of_another_publisher_on_its_bus_and_another(
    arch: Arch, published: Published, foreign: Path, tmp_path: Path
) -> None:
    others = dict.fromkeys(("virtio", "usb", "nvme"), foreign)
    boot_beside(published, others, "usb", tmp_path, f"foreign-{arch}")


@AMD64
def test_of_copies_on_one_bus_and_two_the_cache_of_the_booted_usb_stick_is_used(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    # The virtio copy is there first, so its Seed is the one that runs.
    others = dict.fromkeys(("virtio", "usb", "nvme"), published.stick)
    boot_beside(published, others, "usb", tmp_path, f"copies-{arch}")


@ARM64
def test_of_copies_on_one_bus_and_two_the_cache_of_the_booted_virtio_stick_is_used(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    others = dict.fromkeys(("virtio", "virtio-last", "usb-alone"), published.stick)
    boot_beside(published, others, "virtio-late", tmp_path, f"copies-{arch}")


@AMD64
def test_a_usb_stick_that_enumerates_after_40_seconds_is_found(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    durable = VmDisks.create(published.stick, QEMU_PLATFORMS[arch].vars, tmp_path)
    loaded = sum(len(durable.stick.boot_file(field)) for field in ("linux", "initrd"))
    hardware = replace(published.hardware, disk="usb")
    with Lab() as lab, Machine(durable, hardware=hardware, lab=lab, name=f"late-{arch}") as machine:
        start_provider(lab, published.site)
        with machine.qmp() as qmp:
            until_kernel_runs(qmp, loaded)
            qmp.execute("device_del", {"id": "plug"})
            time.sleep(LATE_SECONDS)
            file = {"driver": "file", "filename": str(durable.disk)}
            qmp.execute("blockdev-add", {"driver": "raw", "node-name": "again", "file": file})
            port = {"bus": "xhci.0", "port": "2", "removable": True}
            qmp.execute(
                "device_add", {"driver": "usb-storage", "id": "late", "drive": "again", **port}
            )
        machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        (switched,) = [
            event for event in machine.events_named("stage") if event.text("name") == "switch-root"
        ]
        assert switched.number("reached") > FORMER_BOUND
        (opened,) = machine.events_named("store.opened")
        assert opened.fields["persistent"] is True
        machine.stop()
        signed = {each.digest.hex for each in published.manifest.artifacts.values()}
        assert stored_in(cache_of(machine)) == signed


def until_kernel_runs(qmp: Any, size: int) -> None:
    """Wait until `size` bytes were read from the stick, and then no more for a moment."""
    give_up = time.monotonic() + BOOT_SECONDS
    read, since = 0, time.monotonic()
    while read < size or time.monotonic() - since < QUIET_SECONDS:
        assert time.monotonic() < give_up, f"{read} bytes read"
        time.sleep(0.1)
        now = {
            disk["device"]: disk["stats"]["rd_bytes"] for disk in qmp.execute("query-blockstats")
        }
        if now["stick"] != read:
            read, since = now["stick"], time.monotonic()
