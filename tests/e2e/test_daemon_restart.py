"""A daemon that hangs or is killed: started once more, and after that a person is asked first.

The stick lets a person be root, who then does to the daemon what a fault would.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import pytest

from image.build_cache import build_lock
from image.lab.boot_timing import REPORT
from image.lab.guest_events import Event
from image.lab.machine import Machine
from image.lab.network import BRIDGE, Lab
from image.lab.provider_process import start_provider
from phase_boot.content.arch import Arch
from tests.support.boot_images import CHANNEL, Published, program
from tests.support.boots import AMD64, BOOT_SECONDS, moves, stay, stored_and_sound

pytestmark = pytest.mark.e2e

PROMPT = b"# "
ENDED = b"The root shell has ended"
MAIN = "$(systemctl show -P MainPID phase-boot)"
EVENTS = "/run/phase-boot/events.jsonl"


@pytest.fixture
def open_stick(arch: Arch, published: Published) -> Published:
    """The published stick, built so that a person may be root on it."""
    folder = published.stick.parent
    stick = published.stick.with_name("stick-root-shell.img")
    with build_lock(folder):
        program(
            *(sys.executable, "-m", "image", "build", "--arch", arch, "--channel", CHANNEL),
            "--no-public",
            *("--root", str(folder / "roots" / "1.json"), "--out", str(stick), "--root-shell"),
        )
    return replace(published, stick=stick)


def opened(machine: Machine, number: int) -> Event:
    """Wait for the Seed Shell to open for the ``number``-th time."""
    seen: list[Event] = []

    def is_it(event: Event) -> bool:
        if event not in seen:
            seen.append(event)
        return len(seen) == number

    shell = machine.wait_for("shell.opened", timeout=BOOT_SECONDS, where=is_it)
    stay(machine)
    return shell


def as_root(machine: Machine, command: str) -> None:
    """Open a root shell, type ``command`` there, and leave it."""
    type_until(machine, "x\r", PROMPT)
    machine.type(f"{command}; exit\r")


def type_until(machine: Machine, keys: str, words: bytes) -> None:
    """Type ``keys``, and wait until ``words`` are shown after that."""
    console = machine.folder / "console.log"
    before = len(console.read_bytes())
    machine.type(keys)
    give_up = time.monotonic() + BOOT_SECONDS
    while words not in console.read_bytes()[before:]:
        assert time.monotonic() < give_up, words
        assert machine.running
        time.sleep(0.2)


@AMD64
@pytest.mark.e2e_all
def test_a_daemon_that_hangs_and_is_then_killed_asks_a_person_first(
    arch: Arch, open_stick: Published
) -> None:
    with (
        Lab() as lab,
        Machine(
            open_stick.stick, hardware=open_stick.hardware, lab=lab, name=f"restart-{arch}"
        ) as machine,
    ):
        first = opened(machine, 1)
        as_root(machine, f"kill -STOP {MAIN}")
        second = opened(machine, 2)
        assert second.text("boot_id") != first.text("boot_id")
        (interrupted,) = machine.events_named("run.interrupted")
        assert interrupted.number("lines") > 0

        as_root(machine, f"kill -KILL {MAIN}")
        third = opened(machine, 3)
        assert "failed twice" in third.text("cause")
        assert machine.events_named("state.entered")[-1].text("state") == "shell"

        start_provider(lab, open_stick.site)
        machine.type("r\r")
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("crashed",))
        assert report.text("version") == str(open_stick.manifest.version)


@AMD64
def test_a_daemon_killed_while_it_fetches_goes_on_where_it_was(
    arch: Arch, open_stick: Published
) -> None:
    with (
        Lab() as lab,
        Machine(
            open_stick.stick, hardware=open_stick.hardware, lab=lab, name=f"killed-{arch}"
        ) as machine,
    ):
        opened(machine, 1)
        start_provider(lab, open_stick.site)
        slow = ("tbf", "rate", "40mbit", "burst", "32kbit", "latency", "400ms")
        lab.run(["tc", "qdisc", "add", "dev", BRIDGE, "root", *slow])
        wait = f'until grep -q \'"rootfs", "done"\' {EVENTS}; do sleep .2; done'
        type_until(machine, "x\r", PROMPT)
        machine.type(f"(trap '' HUP; {wait}; kill -KILL {MAIN}) &\r")
        type_until(machine, "exit\r", ENDED)
        machine.type("r\r")
        machine.wait_for("run.interrupted", timeout=BOOT_SECONDS, fail_on=("kexec.jump",))
        report = machine.wait_for(REPORT, timeout=BOOT_SECONDS, fail_on=("crashed",))

        assert report.text("version") == str(open_stick.manifest.version)
        begun = [event for event in machine.events_named("fetch.started") if event.number("offset")]
        assert [event.text("artifact") for event in begun] == ["rootfs"]
        assert ("shell", "retry", "init") in moves(machine)
        signed = {each.digest.hex for each in open_stick.manifest.artifacts.values()}
        assert stored_and_sound(machine) == signed
