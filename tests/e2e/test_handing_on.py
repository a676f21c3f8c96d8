"""A machine that has booted is the provider of the next one: nobody else has to be there."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.netns import Host
from image.lab.network import Lab
from image.lab.provider_process import PORT, PROGRAM, start_provider
from phase_boot.content.arch import Arch
from tests.support.boot_images import Published
from tests.support.boots import AMD64, BOOT_SECONDS, GOING_WRONG, sources

pytestmark = pytest.mark.e2e

NARROW = 12
"""Megabits per second."""
MIB = 1024 * 1024


@AMD64
@pytest.mark.e2e_all
def test_a_machine_boots_what_another_one_has_booted(arch: Arch, published: Published) -> None:
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"handing-on-{arch}"
        ) as first,
    ):
        provider = start_provider(lab, published.site)
        first.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        provider.stop()
        health = json.loads(first.http_get("/health", port=PORT, timeout=BOOT_SECONDS))
        (offer,) = health["offers"]
        assert offer["version"] == str(published.manifest.version)

        with Machine(
            published.stick,
            hardware=published.hardware,
            lab=lab,
            name=f"handed-on-{arch}",
            mode="local",
        ) as second:
            report = second.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
            assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
            came_from = set(sources(second.events_named("fetch.done")).values())
            assert came_from
            assert came_from.isdisjoint({"store", *provider.urls})


@AMD64
def test_sticks_that_boot_at_once_hand_on_to_one_another_what_they_have(
    arch: Arch, published: Published
) -> None:
    with Lab() as lab:
        # A cable so narrow that both are still fetching when they find each other.
        publisher = Host(lab, 0, megabits=NARROW)
        words = ["serve", str(published.site.absolute()), "--port", str(PORT)]
        publisher.start([str(PROGRAM), *words])
        publisher.wait_for_port(PORT)
        with ExitStack() as machines:
            both = [
                machines.enter_context(
                    Machine(
                        published.stick,
                        hardware=published.hardware,
                        lab=lab,
                        name=f"at-once-{number}-{arch}",
                    )
                )
                for number in (1, 2)
            ]
            for machine in both:
                report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
                assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
                (joined,) = {
                    event.text("source") for event in machine.events_named("tracker.joined")
                }
                assert joined == f"http://{publisher.address}:{PORT}"
            served = [event for machine in both for event in machine.events_named("source.served")]
            given = [event for event in served if publisher.address not in event.text("source")]
            assert sum(event.number("bytes") for event in given) > MIB
