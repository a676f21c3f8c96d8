"""The progress of a command: one line that fits, on terminals only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phase_boot.console.lines import progress_bar
from phase_boot.console.progress import DRAWN_SECONDS, PLAIN_SECONDS, Report, progress
from tests.support.pseudo_terminals import pseudo_terminal

MIB = 1 << 20


@pytest.fixture(autouse=True)
def term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


class Clock:
    """Seconds, set by the test."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def publish(report: Report, clock: Clock) -> None:
    """Do 3 GiB in 60 s of the clock, reporting sixteen times a second."""
    for turn in range(1, 961):
        clock.at = turn / 16
        report("rootfs: copy", turn * 3072 * MIB // 960, 3072 * MIB)


@pytest.mark.parametrize("columns", [20, 39, 40, 60, 80, 200])
def test_a_terminal_gets_one_line_that_fits_and_is_drawn_over_itself(columns: int) -> None:
    clock = Clock()
    with pseudo_terminal(columns) as (stream, screen), progress(stream, now=clock) as report:
        publish(report, clock)
    shown = screen.text
    assert "\n" not in shown
    drawn = [line.removesuffix("\x1b[K") for line in shown.split("\r")[1:-1]]
    assert max(map(len, drawn)) < columns
    assert 200 < len(drawn) <= 60 / DRAWN_SECONDS
    assert all(line.startswith("  rootfs: copy ") for line in drawn)
    assert shown.endswith("\r\x1b[K")


def test_a_line_of_80_columns_has_step_amount_rate_and_remaining_time() -> None:
    clock = Clock()
    with pseudo_terminal(80) as (stream, screen), progress(stream, now=clock) as report:
        publish(report, clock)
    shown = screen.text
    assert "  rootfs: copy [#####-----] 1536.0 of 3072.0 MiB, 51.2 MiB/s, 0:30 left" in shown


def test_a_line_of_39_columns_has_step_and_amount() -> None:
    clock = Clock()
    with pseudo_terminal(39) as (stream, screen), progress(stream, now=clock) as report:
        publish(report, clock)
    shown = screen.text
    assert "\r  rootfs: copy 1536.0 of 3072.0 MiB\x1b[K" in shown


def test_if_the_amount_does_not_fit_a_percentage_is_shown() -> None:
    event = {"artifact": "initramfs: check", "done": 15_360 * MIB, "size": 30_720 * MIB}
    assert progress_bar(event, 38) == "  initramfs: check 50 %"


@pytest.mark.parametrize("columns", range(100))
def test_no_line_is_wider_than_its_pseudo_terminal(columns: int) -> None:
    event = {"artifact": "initramfs: check", "done": 1 << 40, "size": 1 << 41, "rate": 1 << 30}
    assert len(progress_bar(event, columns)) <= columns


@pytest.mark.parametrize("kind", ["dumb", "unknown", "", None])
def test_a_dumb_terminal_gets_a_plain_line_every_ten_seconds(
    kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERM")
    if kind is not None:
        monkeypatch.setenv("TERM", kind)
    clock = Clock()
    with pseudo_terminal(80) as (stream, screen), progress(stream, now=clock) as report:
        publish(report, clock)
        report("rootfs: index", 1, 2)
    lines = screen.text.splitlines()
    assert 60 / PLAIN_SECONDS - 1 <= len(lines) <= 60 / PLAIN_SECONDS
    assert not set("".join(lines)) & {"\x1b", "\r"}
    assert all("rootfs: copy" in line and len(line) < 80 for line in lines)


def test_a_pipe_and_a_file_get_nothing(tmp_path: Path) -> None:
    clock = Clock()
    with (tmp_path / "log").open("w") as stream, progress(stream, now=clock) as report:
        publish(report, clock)
    assert (tmp_path / "log").read_bytes() == b""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, progress(stream, now=clock) as report:
        publish(report, clock)
    with os.fdopen(reader, "rb") as got:
        assert got.read() == b""


def test_a_short_step_shows_no_progress() -> None:
    clock = Clock()
    with pseudo_terminal(80) as (stream, screen), progress(stream, now=clock) as report:
        report("kernel: copy", 1, 2)
        clock.at = DRAWN_SECONDS / 2
        report("kernel: index", 1, 2)
    assert screen.text == ""


def test_a_step_that_begins_replaces_the_bar_before_it_takes_long() -> None:
    clock = Clock()
    with pseudo_terminal(80) as (stream, screen), progress(stream, now=clock) as report:
        clock.at = 1.0
        report("rootfs: copy", 5, 10)
        report("rootfs: flush", 10, 10)
    assert screen.text.split("\r")[2].startswith("  rootfs: flush ")


def test_the_progress_bar_is_removed_before_an_error_is_printed() -> None:
    clock = Clock()
    with (  # noqa: PT012 - both belong to what is tested
        pseudo_terminal(80) as (stream, screen),
        pytest.raises(ValueError, match="stop"),
        progress(stream, now=clock) as report,
    ):
        clock.at = 1.0
        report("rootfs: copy", 5, 10)
        raise ValueError("stop")
    assert screen.text.endswith("\r\x1b[K")


def test_a_terminal_that_is_gone_ends_no_command() -> None:
    clock = Clock()
    ours, theirs = os.openpty()
    stream = os.fdopen(theirs, "w")
    with progress(stream, now=clock) as report:
        os.close(ours)
        publish(report, clock)
    with pytest.raises(OSError, match="Input/output error"):
        stream.close()
