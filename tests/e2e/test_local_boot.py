"""T3: Local boots from Cache with the cable out, and never sends a packet beyond its network."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import IPV4, Lab
from image.lab.provider_process import start_provider
from image.lab.qemu_args import QEMU_PLATFORMS
from image.lab.vm_disks import VmDisks
from phase_boot.content.arch import Arch
from tests.e2e.receipts import assert_second_output, kept_in, printed, receipts
from tests.e2e.traces import sent
from tests.support.boot_images import Published
from tests.support.boots import BOOT_SECONDS, BOTH, GOING_WRONG, cache_of, moves, sources, stored_in

pytestmark = pytest.mark.e2e

NEAR = (ip_network("10.77.0.0/24"), ip_network("fd77:b007::/64"), ip_network("fe80::/10"))


@BOTH
def test_local_boots_from_cache_with_the_cable_out(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    durable = VmDisks.create(published.stick, QEMU_PLATFORMS[arch].vars, tmp_path)
    hardware = replace(published.hardware, capture=True)
    with Lab() as lab:
        with Machine(
            durable, hardware=hardware, lab=lab, name=f"local-first-{arch}", mode="local"
        ) as first:
            provider = start_provider(lab, published.site)
            first.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
            assert set(sources(first.events_named("fetch.done")).values()) <= set(provider.urls)
            # One machine ends its first boot in peace, and one is switched off on the way.
            before = receipts(first, published) if arch is Arch.AMD64 else ()
            first.stop()
            assert beyond(first, lab) == set()
            provider.stop()

        with Machine(durable, hardware=hardware, lab=lab, name=f"local-{arch}") as machine:
            machine.set_link(up=False)
            report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)

            assert report.text("mode") == "local"
            assert report.text("version") == str(published.manifest.version)
            assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
            assert ("net_up", "offline", "discover") in moves(machine)
            assert machine.events_named("candidate.found")[0].text("finder") == "cache"
            assert set(sources(machine.events_named("fetch.done")).values()) == {"store"}
            hello, second = receipts(machine, published)
            assert hello.mode == "local"
            assert machine.events_named("plasma.uploaded") == []
            machine.stop()
            cache = cache_of(machine)
            signed = {each.digest.hex for each in published.manifest.artifacts.values()}
            assert stored_in(cache) == signed
            assert kept_in(cache)[-2:] == printed(machine)
            for receipt in before:
                assert receipt.node == hello.node
            if before:
                # The module that the manifest's job was fetched for is here still.
                assert_second_output(second)
                assert len(kept_in(cache)) == 4


def beyond(machine: Machine, lab: Lab) -> set[str]:
    """Return where the guest sent packets to that a router would have to carry."""
    frames = sent(machine, lab)
    # The detector sees whom the guest did ask.
    assert IPV4 in {frame.target for frame in frames}
    targets = {frame.target for frame in frames if frame.target}
    return {target for target in targets if not _near(target)}


def _near(target: str) -> bool:
    address = ip_address(target)
    if address.is_multicast:
        # All but those of wider scope stay on the link.
        return str(address).startswith(("224.0.0.", "ff02:"))
    if str(address) in {"255.255.255.255", "0.0.0.0"}:  # noqa: S104 - an address to compare with
        return True
    return any(address in network for network in NEAR)
