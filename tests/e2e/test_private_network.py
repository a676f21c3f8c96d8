"""Private on network cards whose driver keeps the burned-in address: no frame carries it.

QEMU's virtio card with `failover=on` (VIRTIO_NET_F_STANDBY) is such a card: Linux's driver answers
every change of its address with EOPNOTSUPP.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.guest_events import Event
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.pcap import Packet, read_packets
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from tests.e2e.traces import naming, sent
from tests.support.boot_images import Published
from tests.support.boots import BOOT_SECONDS, BOTH, moves

pytestmark = pytest.mark.e2e_all

KEEPS_ITS_ADDRESS = "virtio-net-pci,failover=on"


@BOTH
def test_a_card_that_keeps_its_address_sends_nothing_and_is_named(
    arch: Arch, published: Published
) -> None:
    hardware = replace(published.hardware, nic_model=KEEPS_ITS_ADDRESS, capture=True)
    with (
        Lab() as lab,
        Machine(
            published.stick,
            hardware=hardware,
            lab=lab,
            mode="private",
            name=f"private-kept-{arch}",
        ) as machine,
    ):
        start_provider(lab, published.site)
        opened = machine.wait_for(
            "shell.opened", timeout=BOOT_SECONDS, fail_on=("crashed", "link.up", "run.ended")
        )
        cause = opened.text("cause")
        refused = {event.text("interface"): event for event in machine.events_named("link.refused")}
        assert refused
        for name, event in refused.items():
            assert name in cause
            assert "burned-in hardware address" in event.text("reason")
            assert "Operation not supported" in event.text("reason")
        assert "burned-in hardware address" in cause
        assert "choose another mode" in cause
        machine.stop()
        assert carrying(sent(machine, lab), machine.nic.mac) == []
        # Nothing that got on the cable is taken for nothing: here the guest sent no frame at all.
        assert sent(machine, lab) == ()

    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=hardware, lab=lab, name=f"kept-control-{arch}"
        ) as machine,
    ):
        machine.wait_for("link.up", timeout=BOOT_SECONDS, fail_on=("crashed", "run.ended"))
        machine.stop()
        # The detector sees the address where it is used.
        assert carrying(sent(machine, lab), machine.nic.mac)


@BOTH
def test_beside_a_card_that_keeps_its_address_the_boot_goes_on_over_another(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    with Lab() as lab:
        other, capture = lab.add_nic(), tmp_path / "other.pcap"
        hardware = replace(
            published.hardware,
            nic_model=KEEPS_ITS_ADDRESS,
            capture=True,
            extra=(
                *("-netdev", f"{other.netdev.replace('id=net0', 'id=net1')}{plain(other.netdev)}"),
                *("-device", f"virtio-net-pci,netdev=net1,mac={other.mac},romfile="),
                *("-object", f"filter-dump,id=capture1,netdev=net1,file={capture}"),
            ),
        )
        with Machine(
            published.stick,
            hardware=hardware,
            lab=lab,
            mode="private",
            name=f"private-other-{arch}",
        ) as machine:
            start_provider(lab, published.site)
            report = machine.wait_for(
                REPORT, timeout=BOOT_SECONDS, fail_on=("shell.opened", "crashed", "run.ended")
            )
            assert report.text("mode") == "private"
            assert moves(machine)[-1] == ("fetch", "fetched", "kexec")
            used = {event.text("interface") for event in machine.events_named("link.up")}
            refused = {event.text("interface") for event in machine.events_named("link.refused")}
            assert used
            assert refused
            assert not used & refused
            # What was judged was there: an address, leases of both families, variables.
            last = machine.events_named("privacy.checked")[-1]
            assert used <= set(words(last, "interfaces"))
            kinds = {word.split()[1] for word in words(last, "identifiers")}
            assert kinds == {"client", "DUID", "IAID"}
            assert last.number("variables") > 0
            # The target draws an address of its own, and leaves the first card down too.
            macs = until_addresses(capture, 2, but=addresses_of(lab))
            machine.stop()
            assert sent(machine, lab) == ()
            over = tuple(read_packets(capture))
            for mac in (machine.nic.mac, other.mac):
                assert carrying(over, mac) == []
            assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)


def until_addresses(capture: Path, number: int, *, but: set[str]) -> set[str]:
    """Return the addresses that sent something, once there are as many as `number`."""
    give_up = time.monotonic() + BOOT_SECONDS
    while True:
        found = {frame.from_mac for frame in read_packets(capture)} - but
        if len(found) >= number:
            return found
        assert time.monotonic() < give_up, f"frames of {sorted(found)} only"
        time.sleep(1)


def words(event: Event, field: str) -> list[str]:
    value = event.fields[field]
    assert isinstance(value, list)
    return [str(each) for each in value]


def carrying(frames: Iterable[Packet], mac: str) -> list[Packet]:
    """Return the frames that carry `mac` anywhere: as an address, in text, or in an identifier."""
    raw = bytes.fromhex(mac.replace(":", ""))
    eui64 = bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return [
        frame
        for frame in frames
        if mac in (frame.from_mac, frame.to_mac) or naming([frame], (mac, raw, eui64))
    ]


def addresses_of(lab: Lab) -> set[str]:
    return {line.split()[0] for line in lab.run(["sh", "-c", ADDRESSES]).splitlines()}


ADDRESSES = "ip -o link | sed -n 's/.*link\\/ether //p'"


def plain(netdev: str) -> str:
    """What keeps QEMU from capturing a tap's own header (see image.lab.qemu_args)."""
    return ",vnet_hdr=off" if netdev.startswith("tap,") else ""
