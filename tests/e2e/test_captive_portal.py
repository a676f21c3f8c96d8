"""T7: a network that lets nobody out before a form is posted; the way on is typed by a person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.captive_portal import FORM, NAME, CaptivePortal
from image.lab.certificates import certificate
from image.lab.guest_events import Event
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.pcap import read_packets
from image.lab.qemu_args import CAPTURE
from image.lab.wan import ADDRESS, WanLink, WanNetwork
from phase_boot.content.arch import Arch
from phase_boot.store.layout import manifest_path
from tests.support.boot_images import CHANNEL, MIRROR, Published, mirror_certificate
from tests.support.boots import (
    ARM64_LATER,
    BOOT_SECONDS,
    moves,
    replayed,
    sources,
    stay,
    stored_and_sound,
    type_url,
)

pytestmark = pytest.mark.e2e

WRONG = ("crashed", "run.ended")


@ARM64_LATER
def test_a_captive_portal_is_named_and_a_typed_url_boots_after_the_sign_in(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    place = manifest_path(CHANNEL, arch)
    with Lab(dns=True) as lab:
        far = WanNetwork(lab, WanLink(milliseconds=5))
        far.start_mirror(published.site, MIRROR, mirror_certificate())
        portal = CaptivePortal(lab, {MIRROR: ADDRESS}, certificate(tmp_path / "its-own", NAME))
        with Machine(
            published.stick,
            hardware=replace(published.hardware, capture=True),
            lab=lab,
            name=f"portal-{arch}",
            cmdline=f"phase.url=http://{MIRROR}/{place}",
        ) as machine:
            shell = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=(REPORT, *WRONG))
            stay(machine)
            sent = f"it sent us to http://{NAME}{FORM}"
            assert f"this network has a captive portal ({sent}" in shell.text("cause")
            assert "sign in from another device" in shell.text("cause")
            assert "type the URL" in shell.text("cause")
            (refused,) = machine.events_named("candidate.refused")
            assert refused.text("code") == "portal"

            # Nobody has signed in: whoever answers for the mirror is not the mirror.
            type_url(machine, f"https://{MIRROR}/{place}")
            again = until_another(machine, shell)
            stay(machine)
            assert "certificate does not count here" in machine.events_named("candidate.refused")[
                1
            ].text("reason")
            assert "captive portal" in again.text("cause")
            assert machine.events_named("manifest.verified") == []

            portal.log_in()
            type_url(machine, f"https://{MIRROR}/{place}")
            report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=WRONG)
            assert report.text("version") == str(published.manifest.version)
            assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
            assert set(sources(machine.events_named("fetch.done")).values()) == {
                f"https://{MIRROR}"
            }
            assert moves(machine).count(("shell", "retry", "init")) == 2
            assert replayed(machine, tmp_path)[-1] == "kexec"
            signed = {each.digest.hex for each in published.manifest.artifacts.values()}
            assert stored_and_sound(machine) == signed

            # Where the portal sent us, nobody went.
            packets = [
                packet for packet in read_packets(machine.folder / CAPTURE) if packet.uses_port(80)
            ]
            assert any(packet.contains(f"Location: http://{NAME}") for packet in packets)
            assert not any(packet.contains(f"Host: {NAME}") for packet in packets)


def until_another(machine: Machine, shell: Event) -> Event:
    """The next time that a person is asked."""
    return machine.wait_for(
        "shell.opened",
        timeout=BOOT_SECONDS,
        fail_on=(REPORT, *WRONG),
        where=lambda event: event.seq > shell.seq,
    )
