"""A stick on plain hardware where nobody offers anything: a person is asked, and the boot goes on.

USB storage and an Intel network card instead of virtio, as on a PC.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from phase_boot.store.layout import manifest_path
from tests.support.boot_images import CHANNEL, Published
from tests.support.boots import AMD64, BOOT_SECONDS, moves, stay

pytestmark = pytest.mark.e2e


@AMD64
def test_nobody_offers_anything_until_a_person_saves_a_report_and_types_a_url(
    arch: Arch, published: Published
) -> None:
    plain = replace(published.hardware, disk="usb", nic_model="e1000e")
    with Lab() as lab, Machine(published.stick, hardware=plain, lab=lab, name="shell") as machine:
        opened = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=("crashed",))
        assert f"nothing offers stable for {arch} here" in opened.text("cause")
        assert "type the URL" in opened.text("way_out")
        assert not machine.events_named("kexec.loaded")
        stay(machine)

        # The serial line sends Enter as a keyboard does, and nobody waits for a prompt.
        machine.type("boot anyway\r")
        machine.type("s\r")
        saved = machine.wait_for(
            "report.saved", timeout=BOOT_SECONDS, fail_on=("report.not_saved",)
        )
        where = saved.text("where").split()[0]

        provider = start_provider(lab, published.site)
        machine.type("u\r")
        machine.type(f"{provider.urls[0]}/{manifest_path(CHANNEL, published.arch)}\r")
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("crashed", "run.ended"))

        assert report.text("version") == str(published.manifest.version)
        assert [event.text("action") for event in machine.events_named("shell.chose")] == [
            "save",
            "url",
        ]
        assert [event.text("finder") for event in machine.events_named("candidate.found")] == [
            "url"
        ]
        assert [move for move in moves(machine) if "shell" in move] == [
            ("discover", "give_up", "shell"),
            ("shell", "retry", "init"),
        ]
        machine.stop()
        contents = machine.stick.read_esp(where.lstrip("/")).decode("ascii")
    assert opened.text("cause") in contents
    assert "mode:      internet" in contents
    assert '"event":"shell.opened"' in contents.replace('": "', '":"')
