"""Networks that are not there at once, or not in the family that one expects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import BRIDGE, Lab
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from tests.support.boot_images import Published
from tests.support.boots import AMD64, BOOT_SECONDS, BOTH, GOING_WRONG, sources

pytestmark = pytest.mark.e2e_all

LATE_SECONDS = 20.0
EMPTY = "br1"
_EMPTY_LAN = f"""set -e
ip link add {EMPTY} type bridge mcast_snooping 0 forward_delay 0
ip addr add 10.88.0.1/24 brd + dev {EMPTY}
ip link set {EMPTY} up
"""


@BOTH
def test_a_stick_boots_on_a_network_of_ipv6_alone(arch: Arch, published: Published) -> None:
    with (
        Lab(ipv4=False) as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"ipv6-only-{arch}"
        ) as machine,
    ):
        provider = start_provider(lab, published.site)
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        assert report.text("version") == str(published.manifest.version)
        came_from = set(sources(machine.events_named("fetch.done")).values())
        assert came_from <= set(provider.urls)
        assert all(source.startswith("http://[") for source in came_from)


@contextmanager
def empty_lan(lab: Lab) -> Iterator[None]:
    """Make a second bridge in the lab, which has DHCP and no provider."""
    lab.run(["sh", "-c", _EMPTY_LAN])
    log = lab.folder / "dnsmasq-empty.log"
    with log.open("wb") as out:
        words = ["--no-daemon", "--conf-file=/dev/null", "--pid-file=", "--port=0", "--no-ping"]
        place = [f"--interface={EMPTY}", "--bind-interfaces", "--dhcp-authoritative"]
        leases = [f"--dhcp-leasefile={lab.folder / 'leases-empty'}", "--log-facility=-"]
        pool = ["--dhcp-range=10.88.0.50,10.88.0.99,255.255.255.0,1h"]
        lab.popen(["dnsmasq", *words, *place, *leases, *pool], stdout=out, stderr=out)
    yield


@AMD64
def test_a_provider_behind_an_interface_that_comes_late_is_found(
    arch: Arch, published: Published
) -> None:
    assert arch is published.arch
    with Lab() as lab, empty_lan(lab):
        late = lab.add_nic()
        netdev = late.netdev.replace("id=net0", "id=net1")
        device = f"virtio-net-pci,id=late,netdev=net1,mac={late.mac},romfile="
        hardware = replace(published.hardware, extra=("-netdev", netdev, "-device", device))
        with Machine(published.stick, hardware=hardware, lab=lab, name="late-nic") as machine:
            with machine.qmp() as qmp:
                qmp.execute("set_link", {"name": "net1", "up": False})
            lab.run(["ip", "link", "set", machine.nic.port, "master", EMPTY])
            start_provider(lab, published.site, interface=BRIDGE)
            first = machine.wait_for("link.up", timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
            assert "10.88.0." in str(first.fields["addresses"])
            time.sleep(LATE_SECONDS)
            assert machine.events_named("candidate.found") == []
            with machine.qmp() as qmp:
                qmp.execute("set_link", {"name": "net1", "up": True})
            report = machine.wait_for(
                REPORT, timeout=BOOT_SECONDS, fail_on=("crashed", "run.ended")
            )
            assert report.text("version") == str(published.manifest.version)
            (jump,) = machine.events_named("kexec.jump")
            assert jump
