from __future__ import annotations

import pytest

from image.lab.boot_timing import Stage, boot_stages, table
from image.lab.guest_events import Event

POWERED = 1000.0
KERNEL = 1010.0
TARGET = 1045.0


def event_at(event: str, at: float, kernel: float = KERNEL, **fields: object) -> Event:
    return Event(name=event, seq=0, at=at, arrived=kernel + at, fields=fields)


BOOT = [
    event_at("run.started", 9.0),
    event_at("stage", 9.1, name="firmware", reached=-8.0),
    event_at("stage", 9.1, name="loader", reached=-2.0),
    event_at("stage", 9.1, name="kernel", reached=0.0),
    event_at("stage", 9.1, name="initramfs", reached=3.0),
    event_at("stage", 9.1, name="switch-root", reached=4.0),
    event_at("stage", 9.1, name="daemon", reached=7.0),
    event_at("state.entered", 9.1, state="init"),
    event_at("transition", 10.0, source="init", elapsed=0.5),
    event_at("transition", 12.0, source="discover", elapsed=1.0),
    event_at("transition", 12.5, source="verify", elapsed=0.5),
    event_at("transition", 14.0, source="discover", elapsed=1.5),
    event_at("state.entered", 25.0, state="kexec"),
    event_at("kexec.jump", 30.0),
    event_at("target.report", 20.0, kernel=TARGET),
]


def test_every_stage_of_a_complete_boot_has_its_duration() -> None:
    found = {stage.name: stage.seconds for stage in boot_stages(BOOT, POWERED)}
    assert found == pytest.approx(
        {
            "firmware": 6.0,
            "boot loader": 2.0,
            "kernel": 3.0,
            "initramfs": 1.0,
            "systemd to daemon": 3.0,
            "daemon's start": 2.0,
            "state init": 0.5,
            "state discover": 2.5,
            "state verify": 0.5,
            "state kexec": 5.0,
            "jump to the target": 5.0,
            "target's boot": 20.0,
        }
    )


def test_a_firmware_without_times_is_measured_by_the_host() -> None:
    silent = [event for event in BOOT if event.text("name") not in ("firmware", "loader")]
    first = boot_stages(silent, POWERED)[0]
    assert first.name == "firmware and loader"
    assert first.seconds == pytest.approx(10.0)


def test_a_boot_that_ended_early_has_the_stages_that_it_reached() -> None:
    assert [stage.name for stage in boot_stages(BOOT[:9], POWERED)][-1] == "state init"
    assert boot_stages([], POWERED) == []


def test_the_table_fits_a_terminal_and_draws_to_scale() -> None:
    lines = table([Stage("kernel", 4.0), Stage("a rather long name of a stage", 2.0)], 6.0)
    assert lines[0].count("#") == pytest.approx(2 * lines[1].count("#"), abs=1)
    assert all(len(line) < 80 for line in lines)
    assert "6.00 s" in lines[-1]
    assert table([], 0.0)


def test_events_of_the_target_after_its_report_are_no_stage_of_the_boot() -> None:
    later = [*BOOT, event_at("plasma.done", 40.0, kernel=TARGET)]
    assert boot_stages(later, POWERED) == boot_stages(BOOT, POWERED)
