"""A machine without a person: a provider that comes 30 s late needs none (SPEC B13)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from tests.support.boot_images import Published
from tests.support.boots import BOOT_SECONDS, BOTH, moves, replayed

pytestmark = pytest.mark.e2e

LATE_SECONDS = 30
WRONG = ("crashed", "run.ended", "shell.chose", "retry.stopped")


@BOTH
def test_a_provider_that_comes_late_needs_no_person(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"unattended-{arch}"
        ) as machine,
    ):
        machine.wait_for("link.up", timeout=BOOT_SECONDS, fail_on=WRONG)
        time.sleep(LATE_SECONDS)
        opened = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=WRONG)
        assert "tries again by itself" in opened.text("way_out")
        start_provider(lab, published.site)
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=WRONG)
        assert report.text("version") == str(published.manifest.version)
        assert ("shell", "auto_retry", "init") in moves(machine)
        assert replayed(machine, tmp_path)[-1] == "kexec"
        assert machine.events_named("shell.chose") == []
        shown = (machine.folder / "console.log").read_bytes()
        assert b"press a key to stay here" in shown
