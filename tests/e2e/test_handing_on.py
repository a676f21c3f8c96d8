"""A machine that has booted is the provider of the next one: nobody else has to be there."""

from __future__ import annotations

import json

import pytest

from image.lab import Lab
from image.qemu import Machine
from image.serving import PORT, provide
from image.stages import REPORT
from phase_boot.trust.arch import Arch

from .conftest import AMD64, BOOT_SECONDS, GOING_WRONG, Published, sources

pytestmark = pytest.mark.e2e


@AMD64
def test_a_machine_boots_what_another_one_has_booted(arch: Arch, published: Published) -> None:
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"handing-on-{arch}"
        ) as first,
    ):
        provider = provide(lab, published.site)
        first.until(REPORT, timeout=BOOT_SECONDS, unless=GOING_WRONG)
        provider.stop()
        health = json.loads(first.ask("/health", port=PORT, timeout=BOOT_SECONDS))
        (offer,) = health["offers"]
        assert offer["version"] == str(published.manifest.version)

        with Machine(
            published.stick,
            hardware=published.hardware,
            lab=lab,
            name=f"handed-on-{arch}",
            mode="local",
        ) as second:
            report = second.until(REPORT, timeout=BOOT_SECONDS, unless=GOING_WRONG)
            assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
            came_from = set(sources(second.named("fetch.done")).values())
            assert came_from
            assert came_from.isdisjoint({"store", *provider.urls})
