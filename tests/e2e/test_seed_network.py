"""A network where nobody hands out addresses: a person sets one up, and the boot goes on."""

from __future__ import annotations

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from tests.support.boot_images import Published
from tests.support.boots import AMD64, BOOT_SECONDS, moves, stay

pytestmark = pytest.mark.e2e
ADDRESS = "10.77.0.60/24"


@AMD64
def test_an_address_that_a_person_types_is_enough_to_boot(arch: Arch, published: Published) -> None:
    assert arch is published.arch
    with (
        Lab(dhcp=False) as lab,
        Machine(published.stick, hardware=published.hardware, lab=lab, name="typed") as machine,
    ):
        opened = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=("crashed",))
        stay(machine)
        assert "no link got an address" in opened.text("cause")
        start_provider(lab, published.site)
        # The interface that is offered, the address, no gateway, no name server, no VLAN.
        for line in ("n", "", ADDRESS, "", "", "", "y"):
            machine.type(f"{line}\r")
        machine.wait_for("network.set", timeout=BOOT_SECONDS, fail_on=("network.not_set",))
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("crashed", "run.ended"))
        assert report.text("version") == str(published.manifest.version)
        assert ("shell", "retry", "init") in moves(machine)
