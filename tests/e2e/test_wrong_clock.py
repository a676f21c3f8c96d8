"""A machine whose hardware clock is years behind boots over HTTPS; its hardware clock stays so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.qemu_args import QEMU_PLATFORMS
from image.lab.vm_disks import VmDisks
from image.lab.wan import ADDRESS, WanLink, WanNetwork, start_name_server
from phase_boot.content.arch import Arch
from phase_boot.store.layout import manifest_path
from tests.support.boot_images import CHANNEL, MIRROR, Published, mirror_certificate
from tests.support.boots import AMD64, BOOT_SECONDS, republished, sources

pytestmark = pytest.mark.e2e_all

RTC = datetime(2020, 1, 1, tzinfo=UTC)
WRONG = ("crashed", "run.ended")
DAY = timedelta(days=1)


@AMD64
def test_a_clock_years_behind_is_named_and_set_and_the_hardware_clock_is_not_written(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    certificate = mirror_certificate()
    # Issued after the certificate was made, so that whoever saw this version can judge that.
    issued = datetime.now(UTC).replace(microsecond=0)
    site = republished(published, tmp_path / "site", issued=f"{issued:%Y-%m-%dT%H:%M:%SZ}")
    durable = VmDisks.create(published.stick, QEMU_PLATFORMS[arch].vars, tmp_path)
    hardware = replace(published.hardware, extra=("-rtc", f"base={RTC:%Y-%m-%dT%H:%M:%S}"))
    url = f"https://{MIRROR}/{manifest_path(CHANNEL, arch)}"
    with Lab(dns=True) as lab:
        WanNetwork(lab, WanLink(milliseconds=5)).start_mirror(site, MIRROR, certificate)
        start_name_server(lab, {MIRROR: ADDRESS})
        with Machine(
            durable,
            hardware=hardware,
            lab=lab,
            name=f"clock-first-{arch}",
            cmdline=f"phase.url={url}",
        ) as first:
            first.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=(REPORT, *WRONG))
            (refused,) = first.events_named("candidate.refused")
            assert "its certificate is not yet valid: it is valid from" in refused.text("reason")
            assert "set the clock in the Seed Shell" in refused.text("reason")
            assert "portal" not in refused.text("reason")
            assert first.events_named("manifest.verified") == []

            first.type("t\r")
            first.type(f"{issued + timedelta(minutes=5):%Y-%m-%d %H:%M}\r")
            report = first.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=WRONG)
            assert report.text("version") == str(published.manifest.version)
            assert set(sources(first.events_named("fetch.done")).values()) == {f"https://{MIRROR}"}
            assert first.events_named("clock.not_set") == []
            assert abs(hardware_clock(first) - RTC) < DAY
            first.stop()

        # Now the stick knows when its newest version was issued, and nobody is needed.
        with Machine(
            durable,
            hardware=hardware,
            lab=lab,
            name=f"clock-{arch}",
            cmdline=f"phase.url={url}",
        ) as machine:
            machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("shell.opened", *WRONG))
            assert machine.events_named("clock.set")[-1].text("after") == issued.isoformat()
            assert machine.events_named("candidate.found")[0].text("url") == url
            assert machine.events_named("manifest.verified")[0].text("url") == url
            assert abs(hardware_clock(machine) - RTC) < DAY


def hardware_clock(machine: Machine) -> datetime:
    """What the machine's real-time clock says now."""
    with machine.qmp() as qmp:
        rtc_time = qmp.execute("qom-get", {"path": "/machine", "property": "rtc-time"})
    assert isinstance(rtc_time, dict)
    fields = (rtc_time["tm_year"] + 1900, rtc_time["tm_mon"] + 1, rtc_time["tm_mday"])
    clock = (rtc_time["tm_hour"], rtc_time["tm_min"], rtc_time["tm_sec"])
    return datetime(*fields, *clock, tzinfo=UTC)
