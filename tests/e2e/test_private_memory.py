"""What is left of a RAM that was full of a pattern, once a Private boot has started its target."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.prefilled_ram import PAGE, PrefilledRam, address_ranges, prefilled
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from phase_boot.store.layout import manifest_path
from tests.support.boot_images import CHANNEL, Published
from tests.support.boots import AMD64, BOOT_SECONDS, BOTH, resigned

pytestmark = pytest.mark.e2e_all

OPEN_QUOTE = 'dyndbg="file a.c +p'
REFUSED = ("crashkernel=96M", "mem=384M")
MIB = 1024 * 1024


def offer(published: Published, site: Path, words: str) -> None:
    """Publish the version with ``words`` behind its own command line."""
    raw = resigned(published, cmdline=f"{published.manifest.cmdline} {words}".strip())
    (site / manifest_path(CHANNEL, published.arch)).write_bytes(raw)


def as_text(places: list[tuple[int, int]]) -> str:
    return " ".join(f"{first:#x}-{end:#x}" for first, end in places)


def in_mib(ram: PrefilledRam) -> float:
    survivors = ram.surviving_pages()
    sys.stdout.write(f"{len(survivors)} pages survive: {as_text(address_ranges(survivors))}\n")
    return len(survivors) * PAGE / MIB


@BOTH
def test_private_wipes_all_memory_or_refuses_the_command_line(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    shutil.copytree(published.site, site)
    offer(published, site, REFUSED[0])
    with (
        prefilled(published.hardware) as (hardware, ram),
        Lab() as lab,
        Machine(
            published.stick, hardware=hardware, lab=lab, name=f"wiped-{arch}", mode="private"
        ) as machine,
    ):
        start_provider(lab, site)
        for word, following in zip(REFUSED, (REFUSED[1], "-- quiet"), strict=True):
            opened = machine.wait_for(
                "shell.opened",
                timeout=BOOT_SECONDS,
                fail_on=("crashed", REPORT),
                where=lambda event, word=word: word in event.text("cause"),  # type: ignore[misc]
            )
            assert f"`{word}`, which keeps memory from being wiped" in opened.text("cause")
            assert machine.events_named("fetch.started") == []
            offer(published, site, following)
            machine.type("r\r")
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("crashed", "run.ended"))
        assert report.text("mode") == "private"
        machine.stop()
        assert in_mib(ram) < 8


@AMD64
def test_an_open_quote_keeps_no_page(arch: Arch, published: Published, tmp_path: Path) -> None:
    assert after_boot(arch, published, tmp_path, mode="private", words=OPEN_QUOTE) < 8


@AMD64
def test_the_detector_sees_what_a_mode_without_wiping_leaves(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    assert after_boot(arch, published, tmp_path, mode="internet") > 100


def after_boot(
    arch: Arch, published: Published, folder: Path, *, mode: str, words: str = ""
) -> float:
    """Return how many MiB of the pattern are left when a target has started in ``mode``."""
    site = folder / "site"
    shutil.copytree(published.site, site)
    offer(published, site, words)
    name = f"memory-{mode}-{arch}"
    with (
        prefilled(published.hardware) as (hardware, ram),
        Lab() as lab,
        Machine(published.stick, hardware=hardware, lab=lab, name=name, mode=mode) as machine,
    ):
        start_provider(lab, site)
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("crashed", "shell.opened"))
        assert report.text("mode") == mode
        machine.stop()
        return in_mib(ram)
