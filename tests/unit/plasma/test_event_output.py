"""Events of the jobs on devices that may be slow, busy or gone."""

from __future__ import annotations

import json
from pathlib import Path

from phase_boot.adapters.system.sinks import DeviceSink
from phase_boot.plasma.event_output import DRAIN_SECONDS, PORTS, EventWriter, devices
from phase_boot.plasma.events import JobsDone, ProblemFound, ReceiptSigned

DONE = JobsDone(jobs=0, node="x")


class Clock:
    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_each_device_gets_every_event_as_a_line(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("console", "port")]
    for path in paths:
        path.touch()
    output = EventWriter([DeviceSink(path) for path in paths], Clock())
    output.emit(ReceiptSigned(receipt="x"))
    output.emit(ProblemFound(reason="\x1b[2J"))
    for path in paths:
        first, second = path.read_text().splitlines()
        assert json.loads(first) == {"event": "plasma.receipt", "seq": 0, "at": 5.0, "receipt": "x"}
        assert json.loads(second)["seq"] == 1
        assert "\x1b" not in second


def test_a_slow_device_gets_the_pending_events(tmp_path: Path) -> None:
    port, clock = tmp_path / "port", Clock()
    output = EventWriter([DeviceSink(port)], clock)
    output.emit(DONE)

    def appear(seconds: float) -> None:
        clock.sleep(seconds)
        port.touch()

    output.drain(appear)
    assert json.loads(port.read_text())["event"] == "plasma.done"


def test_the_wait_for_a_blocked_device_is_bounded(tmp_path: Path) -> None:
    clock = Clock()
    output = EventWriter([DeviceSink(tmp_path / "port")], clock)
    output.emit(DONE)
    output.drain(clock.sleep)
    assert clock.now - 5.0 < DRAIN_SECONDS + 1


def test_a_device_that_fails_keeps_nothing_from_the_others(tmp_path: Path) -> None:
    good = tmp_path / "console"
    good.touch()
    output = EventWriter([DeviceSink(Path("/dev/full")), DeviceSink(good)], Clock())
    output.emit(DONE)
    output.emit(DONE)
    output.drain(Clock().sleep)
    assert good.read_text().count("\n") == 2


def test_the_port_to_a_host_is_found_by_its_name(tmp_path: Path) -> None:
    for port, name in (("vport1p1", "org.other"), ("vport1p2", "org.phase_boot.events")):
        folder = tmp_path / PORTS / port
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
    assert [device.name for device in devices(tmp_path)] == ["/dev/console", "/dev/vport1p2"]
    assert [device.name for device in devices(tmp_path / "none")] == ["/dev/console"]
