"""T2: a stick in an empty machine, a provider on the same LAN, real firmware, real kexec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from phase_boot.store.layout import RECEIPTS
from phase_boot.trust.keys import KEYID_PREFIX
from tests.e2e.receipts import assert_second_output, kept_in, printed, receipts
from tests.support.boot_images import Published
from tests.support.boots import (
    BOOT_SECONDS,
    BOTH,
    GOING_WRONG,
    STRAIGHT_ON,
    cache_of,
    moves,
    replayed,
    sources,
    stored_in,
)

pytestmark = pytest.mark.e2e

DAEMON_BYTES = 96 * 1024 * 1024


@BOTH
def test_a_stick_boots_what_a_neighbour_serves(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"lan-boot-{arch}"
        ) as machine,
    ):
        provider = start_provider(lab, published.site)
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        over_http = json.loads(machine.http_get("/report.json"))

        promised = published.manifest
        for reported in (report.fields, over_http):
            assert reported["version"] == str(promised.version)
            assert reported["rootfs"] == str(promised.artifacts["rootfs"].digest)
            assert reported["arch"] == arch
            assert reported["mode"] == "internet"

        assert moves(machine) == STRAIGHT_ON
        assert {event.text("finder") for event in machine.events_named("candidate.found")} == {
            "lan"
        }
        came_from = sources(machine.events_named("fetch.done"))
        assert set(came_from) == {"kernel", "initramfs", "rootfs"}
        assert set(came_from.values()) <= set(provider.urls)
        (jump,) = machine.events_named("kexec.jump")
        assert 0 < jump.number("rss_peak") <= DAEMON_BYTES
        assert replayed(machine, tmp_path)[-1] == "kexec"

        hello, second = receipts(machine, published)
        assert_second_output(second)
        assert hello.mode == "internet"
        raw = printed(machine)
        (handed_in,) = machine.events_named("plasma.uploaded")
        assert handed_in.text("provider") in provider.urls
        assert machine.events_named("plasma.problem") == []
        assert machine.unreadable == []

        machine.stop()
        cache = cache_of(machine)
        assert stored_in(cache) == {each.digest.hex for each in promised.artifacts.values()}
        assert kept_in(cache) == raw
        node = published.site / RECEIPTS / hello.node.removeprefix(KEYID_PREFIX)
        assert {path.read_bytes() for path in node.iterdir()} == set(raw)
