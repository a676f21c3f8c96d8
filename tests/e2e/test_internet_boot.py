"""T1: no provider is on the LAN; the publisher's IPNS record names an HTTPS mirror far away.

The stick knows a delegated router and the announcing key of its root, and no URL of a manifest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import IPV4, Lab
from image.lab.pcap import Packet, read_packets
from image.lab.provider_process import PROGRAM
from image.lab.qemu_args import CAPTURE
from image.lab.wan import ADDRESS, WanLink, WanNetwork, start_name_server
from phase_boot.content.arch import Arch
from phase_boot.store.layout import manifest_path
from tests.support.boot_images import CHANNEL, MIRROR, Published, mirror_certificate, program
from tests.support.boots import (
    BOOT_SECONDS,
    BOTH,
    GOING_WRONG,
    STRAIGHT_ON,
    moves,
    replayed,
    sources,
    stored_and_sound,
)

pytestmark = pytest.mark.e2e

FAR = WanLink(megabits=30, milliseconds=20, loss_percent=0.02)
HTTPS = 443
HANDSHAKE = b"\x16\x03"


@BOTH
def test_a_stick_boots_over_the_internet_from_the_mirror_that_a_record_names(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    url = f"https://{MIRROR}/{manifest_path(CHANNEL, arch)}"
    signing = ("--key", str(published.announcer), "--mirror", f"https://{MIRROR}")
    program(str(PROGRAM), "announce", str(published.site), *signing)
    with Lab(dns=True) as lab:
        log = WanNetwork(lab, FAR).start_mirror(published.site, MIRROR, mirror_certificate())
        start_name_server(lab, {MIRROR: ADDRESS})
        with Machine(
            published.wan_stick,
            hardware=replace(published.hardware, capture=True),
            lab=lab,
            name=f"internet-{arch}",
        ) as machine:
            report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)

            assert report.text("version") == str(published.manifest.version)
            assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
            assert moves(machine) == STRAIGHT_ON
            (found,) = machine.events_named("candidate.found")
            assert (found.text("finder"), found.text("url")) == ("wan", url)
            (accepted,) = machine.events_named("record.accepted")
            assert accepted.text("url") == url
            assert set(sources(machine.events_named("fetch.done")).values()) == {
                f"https://{MIRROR}"
            }
            assert replayed(machine, tmp_path)[-1] == "kexec"
            artifacts = published.manifest.artifacts.values()
            assert stored_and_sound(machine) == {each.digest.hex for each in artifacts}
            for each in artifacts:
                assert f"GET /cas/sha256/{each.digest.hex}" in log.read_text()

            talk = Talk(list(read_packets(machine.folder / CAPTURE)))
            assert talk.received() > sum(each.size for each in artifacts)
            assert talk.opened_with_tls()
            assert talk.partners() <= {ADDRESS, IPV4}
            # What was asked for is no one's business on the way but for the mirror's name.
            assert not talk.held("manifest.json")
            assert not talk.held(str(published.manifest.version))
            assert talk.held(MIRROR)


class Talk:
    """What a captured cable says of the guest's TCP connections."""

    def __init__(self, packets: list[Packet]) -> None:
        assert all(packet.protocol != "malformed" for packet in packets)
        self.tcp = [packet for packet in packets if packet.protocol == "tcp"]

    def received(self) -> int:
        """Bytes that came from the mirror's HTTPS port."""
        return sum(
            len(packet.payload)
            for packet in self.tcp
            if (packet.source, packet.source_port) == (ADDRESS, HTTPS)
        )

    def opened_with_tls(self) -> bool:
        """Whether the first word of every connection to the mirror begins a TLS handshake."""
        first: dict[int, bytes] = {}
        for packet in self.tcp:
            if packet.target == ADDRESS and packet.payload:
                assert packet.target_port == HTTPS
                first.setdefault(packet.source_port, packet.payload)
        return bool(first) and all(said.startswith(HANDSHAKE) for said in first.values())

    def partners(self) -> set[str]:
        """Whom the guest opened connections to."""
        return {packet.target for packet in self.tcp if packet.source != ADDRESS}

    def held(self, text: str) -> bool:
        """Whether anything said over TCP holds `text` in clear."""
        return any(packet.contains(text) for packet in self.tcp)
