"""Attacks by whoever serves: what is not what was signed is never started and never kept."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import Lab
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from tests.support.boot_images import Published
from tests.support.boots import (
    AMD64,
    BOOT_SECONDS,
    BOTH,
    GOING_WRONG,
    moves,
    replayed,
    sources,
    stay,
    stored_and_sound,
    with_bits_flipped,
    with_one_bit_flipped,
)

pytestmark = pytest.mark.e2e

QUIET_SECONDS = 10.0
LIE_EVERY = 16 * 1024


@BOTH
def test_a_kernel_with_one_flipped_bit_never_runs(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    tampered = with_one_bit_flipped(published, "kernel", tmp_path / "tampered")
    kernel = published.manifest.artifacts["kernel"].digest.hex
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"tampered-{arch}"
        ) as machine,
    ):
        liar = start_provider(lab, tampered)
        shell = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=(REPORT, "crashed"))
        stay(machine)
        time.sleep(QUIET_SECONDS)

        assert machine.running
        assert machine.events_named(REPORT) == []
        assert machine.events_named("kexec.loaded") == []
        failures = machine.events_named("source.failed")
        assert failures
        assert {event.text("source") for event in failures} <= set(liar.urls)
        assert {event.text("artifact") for event in failures} == {"kernel"}
        assert "kernel" in shell.text("cause")
        assert "sha256" in shell.text("cause")
        assert shell.text("way_out")
        assert moves(machine)[-1][2] == "shell"
        assert replayed(machine, tmp_path)[-1] == "shell"
        assert kernel not in stored_and_sound(machine)


@AMD64
def test_of_two_providers_the_one_that_lies_is_passed_over(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    # Whichever span of the file the liar is asked for, there is a lie in it.
    everywhere = range(0, published.artifact("rootfs").stat().st_size, LIE_EVERY)
    tampered = with_bits_flipped(published, "rootfs", tmp_path / "tampered", everywhere)
    with (
        Lab() as lab,
        Machine(
            published.stick, hardware=published.hardware, lab=lab, name=f"one-liar-{arch}"
        ) as machine,
    ):
        liar = start_provider(lab, tampered, port=8070)
        # The honest one comes late, so that the liar is certain to be the first choice.
        machine.wait_for("manifest.verified", timeout=BOOT_SECONDS, fail_on=GOING_WRONG)
        honest = start_provider(lab, published.site, port=8071)
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=GOING_WRONG)

        assert report.text("rootfs") == str(published.manifest.artifacts["rootfs"].digest)
        assert report.text("version") == str(published.manifest.version)
        failures = machine.events_named("source.failed")
        assert failures
        assert {event.text("source") for event in failures} <= set(liar.urls)
        assert sources(machine.events_named("fetch.done"))["rootfs"] in honest.urls
        assert replayed(machine, tmp_path)[-1] == "kexec"
        signed = {artifact.digest.hex for artifact in published.manifest.artifacts.values()}
        assert stored_and_sound(machine) == signed
