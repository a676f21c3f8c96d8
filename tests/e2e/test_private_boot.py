"""T4: what Private leaves behind is nothing, by detectors that are shown to see."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from image.lab.boot_timing import REPORT
from image.lab.machine import Machine
from image.lab.network import IPV4, Lab
from image.lab.provider_process import PORT, start_provider
from image.lab.qemu_args import QEMU_PLATFORMS, Hardware
from image.lab.vm_disks import VmDisks
from phase_boot.content.arch import Arch
from phase_boot.trust.receipt import Outcome
from tests.e2e.receipts import receipts
from tests.e2e.traces import Fingerprint, naming, received, remembered, sent, unexpected
from tests.support.boot_images import Published
from tests.support.boots import BOOT_SECONDS, BOTH, moves, stay

pytestmark = pytest.mark.e2e

NOBODY = 9
"""The port where nobody answers (discard)."""
HOSTNAMES = ("phase-seed", "phase-target")
WITHOUT_DAEMON = "systemd.unit=phase-coldplug.service"
QUIET_SECONDS = 10
"""So long nothing is read from the stick when everything that starts has started."""
SEED_BYTES = 16 * 1024 * 1024
"""So much the firmware, the loader and systemd read at the least."""


@BOTH
def test_private_boots_and_leaves_no_trace(
    arch: Arch, published: Published, tmp_path: Path
) -> None:
    secret = f"pass-{token_hex(16)}"
    fresh = private_stick(published, tmp_path / "fresh")
    before = Fingerprint.of(fresh)
    hardware = replace(published.hardware, capture=True)
    with Lab() as lab:
        by_firmware = after_firmware_alone(published, tmp_path / "control", hardware, lab)
        with Machine(fresh, hardware=hardware, lab=lab, name=f"private-{arch}") as machine:
            opened = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, fail_on=("crashed",))
            stay(machine)
            boot_id = opened.text("boot_id")
            machine.type(f"u\rhttp://{IPV4}:{NOBODY}/{secret}/manifest.json\r")
            machine.wait_for(
                "shell.opened",
                timeout=BOOT_SECONDS,
                where=lambda event: secret in event.text("cause"),
            )
            stay(machine)
            # The detector sees both where they are.
            assert remembered(machine, (secret, boot_id)) == {secret, boot_id}

            provider = start_provider(lab, published.site)
            machine.type("r\r")
            report = machine.wait_for(
                REPORT, timeout=BOOT_SECONDS, fail_on=("crashed", "run.ended")
            )
            assert remembered(machine, (secret, boot_id)) == set()

            assert report.text("mode") == "private"
            assert report.text("version") == str(published.manifest.version)
            assert report.fields["handed"] == {"network": {}, "sources": {}, "events": 0}
            assert {
                event.fields["persistent"] for event in machine.events_named("store.opened")
            } == {False}
            assert moves(machine)[-1] == ("fetch", "fetched", "kexec")

            hello, second = receipts(machine, published)
            assert hello.mode == "private"
            assert second.outcome is Outcome.NOT_RUN
            assert "Private mode downloads none" in second.reason
            assert machine.events_named("plasma.uploaded") == []
            assert "POST" not in provider.log.read_text()
            machine.stop()
            frames = sent(machine, lab)
            asked = frozenset({PORT, NOBODY})
            assert list(unexpected(frames, tcp=asked)) == []
            own = bytes.fromhex(machine.nic.mac.replace(":", ""))
            assert naming(frames, (*HOSTNAMES, own, machine.nic.mac)) == []
            assert machine.nic.mac not in {frame.from_mac for frame in frames}
            # What is on the cable is seen: the provider's name, and who asked for an address.
            assert naming(received(machine, lab), ("_phase-image",)) == ["_phase-image"]
            assert {68, 5353} <= {frame.source_port for frame in frames}
    after = Fingerprint.of(fresh)
    assert after.disk == before.disk
    assert after.variables == by_firmware.variables
    # The firmware writes its own variables: a change of one would be seen.
    assert by_firmware.variables != before.variables


def private_stick(published: Published, folder: Path) -> VmDisks:
    folder.mkdir()
    durable = VmDisks.create(published.stick, QEMU_PLATFORMS[published.arch].vars, folder)
    durable.stick.select_entry("private")
    return durable


def after_firmware_alone(
    published: Published, folder: Path, hardware: Hardware, lab: Lab
) -> Fingerprint:
    """Return what the same stick leaves where the daemon does not run."""
    control = private_stick(published, folder)
    name = f"private-control-{published.arch}"
    with Machine(
        control, hardware=hardware, lab=lab, name=name, mode="private", cmdline=WITHOUT_DAEMON
    ) as machine:
        until_quiet(machine)
        assert machine.events == ()
        machine.stop()
    return Fingerprint.of(control)


def until_quiet(machine: Machine) -> None:
    """Wait until the guest has read much of its stick, and then nothing for a while."""
    give_up = time.monotonic() + BOOT_SECONDS
    read, since = 0, time.monotonic()
    with machine.qmp() as qmp:
        while read < SEED_BYTES or time.monotonic() - since < QUIET_SECONDS:
            assert time.monotonic() < give_up, f"{read} bytes read"
            time.sleep(0.5)
            disks: Any = qmp.execute("query-blockstats")
            now = {disk["device"]: disk["stats"]["rd_bytes"] for disk in disks}["stick"]
            if now != read:
                read, since = now, time.monotonic()
