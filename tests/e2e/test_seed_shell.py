"""A stick on plain hardware where nobody offers anything: a person is asked, and the boot goes on.

USB storage and an Intel network card instead of virtio, as on a PC.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from image.lab import Lab
from image.qemu import Machine
from image.serving import provide
from image.stages import REPORT
from phase_boot.trust.arch import Arch

from .conftest import AMD64, BOOT_SECONDS, Published, moves

pytestmark = pytest.mark.e2e


@AMD64
def test_nobody_offers_anything_until_a_person_retries(arch: Arch, published: Published) -> None:
    plain = replace(published.hardware, disk="usb", nic_model="e1000e")
    with Lab() as lab, Machine(published.stick, hardware=plain, lab=lab, name="shell") as machine:
        opened = machine.until("shell.opened", timeout=BOOT_SECONDS, unless=("crashed",))
        assert f"nothing offers stable for {arch} here" in opened.text("cause")
        assert "type the URL" in opened.text("way_out")
        assert not machine.named("kexec.loaded")

        provide(lab, published.site)
        machine.type("boot anyway\n")
        machine.type("r\n")
        report = machine.until(REPORT, timeout=BOOT_SECONDS, unless=("crashed", "run.ended"))

        assert report.text("version") == str(published.manifest.version)
        assert [move for move in moves(machine) if "shell" in move] == [
            ("discover", "give_up", "shell"),
            ("shell", "retry", "init"),
        ]
