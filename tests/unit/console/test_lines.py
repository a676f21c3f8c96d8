"""Events as lines of the console: one line each, folded to the terminal, escaped."""

from __future__ import annotations

import pytest

from phase_boot.console.display import COLUMNS, Display
from phase_boot.console.lines import LEAST_COLUMNS, Console, line_for, progress_bar
from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.scenario import lan_scenario
from phase_boot.journal.handoff_events import KexecLoaded
from phase_boot.journal.record import Record
from phase_boot.ports.kexec import KexecSupport


def shown(*events: dict[str, object], live: bool = True) -> str:
    out: list[str] = []
    console = Console(out.append, Display(folds=live, moves=live))
    for event in events:
        console.show(event)
    return "".join(out)


def test_every_transition_of_a_boot_is_one_line() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.run()
    text = shown(*scenario.events, live=False)
    for source, target in zip(scenario.walk.states, scenario.walk.states[1:], strict=False):
        assert f"{source} -> {target}" in text
    assert max(len(line) for line in shown(*scenario.events).splitlines()) <= COLUMNS


def test_a_record_is_shown_without_its_line() -> None:
    out: list[str] = []
    record = Record(event=KexecLoaded(method="m", cmdline=""), seq=0, at=1.0, boot_id="b00t")
    Console(out.append).write(record)
    assert out == ["    1.00s    loaded by m\n"]
    assert "line" not in vars(record)


def test_escape_sequences_of_a_peer_never_reach_the_terminal() -> None:
    hostile = {"event": "candidate.refused", "at": 1, "code": "x", "reason": "\x1b[2J\r\x07gone"}
    text = shown(hostile)
    assert "\\x1b[2J\\r\\x07gone" in text
    assert not set(text) & {"\x1b", "\r", "\x07"}


REFUSED: dict[str, object] = {
    "event": "candidate.refused",
    "at": 1,
    "code": "manifest.expired",
    "reason": f"The manifest of {'x' * 100} expired: the publisher must publish a new one.",
}


def test_a_file_gets_the_whole_of_a_long_line() -> None:
    text = shown(REFUSED, live=False)
    assert text.count("\n") == 1
    assert text.endswith("the publisher must publish a new one.\n")


@pytest.mark.parametrize("columns", [1, 20, 40, 79, 200])
def test_a_terminal_gets_the_whole_of_a_long_line_folded_to_its_width(columns: int) -> None:
    out: list[str] = []
    Console(out.append, Display(folds=True, columns=lambda: columns)).show(REFUSED)
    lines = "".join(out).splitlines()
    assert max(map(len, lines)) <= max(columns, LEAST_COLUMNS)
    whole = "".join("".join(lines).split())
    assert whole == "".join(str(line_for(REFUSED)).split())


@pytest.mark.parametrize("root", [None, 2147483648])
@pytest.mark.parametrize(
    ("kept", "seen"), [(True, None), (True, "2026.11.23.86399.1"), (False, None)]
)
def test_trusted_keys_and_the_stored_state_are_shown_in_full(
    root: int | None, seen: str | None, *, kept: bool
) -> None:
    event = {"event": "trust.recalled", "at": 1234, "root": root, "seen": seen, "kept": kept}
    line = line_for(event)
    assert line is not None
    assert not line.endswith("...")
    assert (seen or "") in line
    assert ("not remembered" in line) is not kept


def test_each_boot_method_and_its_result_is_shown() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.loader.leftovers = 3
    scenario.kexec.refuse("it is damaged (EINVAL)", errno="EINVAL")
    scenario.run()
    text = shown(*scenario.events, live=False)
    for line in (
        "3 file(s) of an earlier hand-off removed",
        "kernel: bzImage 6.12.1-phase",
        "kexec_file_load refused: it is damaged (EINVAL)",
        "kexec -> kexec",
        "kexec_load refused: it is damaged (EINVAL)",
        "kexec -> chainload",
        "staged 2025.11.12 for the firmware, restarting",
        "chainload -> firmware",
    ):
        assert line in text


def test_the_reason_for_chainload_is_shown_beside_the_kernel() -> None:
    scenario = lan_scenario(peer=good_server())
    scenario.kexec.supported = KexecSupport((), ("kexec is switched off",))
    scenario.run()
    assert "kernel: bzImage 6.12.1-phase; by the firmware: kexec is" in shown(*scenario.events)


def test_the_progress_bar_is_redrawn_in_place_and_cleared_by_the_next_line() -> None:
    progress = {"event": "fetch.progress", "at": 1, "artifact": "rootfs", "done": 5, "size": 10}
    text = shown(progress, progress, {"event": "kexec.loaded", "at": 2, "method": "m"})
    assert text.count("\r") == 3
    assert text.index("\r\x1b[K   ") > text.index("#")
    assert text.endswith("\n")


def test_a_log_file_gets_no_bar() -> None:
    progress = {"event": "fetch.progress", "at": 1, "artifact": "rootfs", "done": 5, "size": 10}
    assert shown(progress, live=False) == ""


def test_a_dumb_terminal_gets_folded_lines_and_no_bar() -> None:
    progress = {"event": "fetch.progress", "at": 1, "artifact": "rootfs", "done": 5, "size": 10}
    out: list[str] = []
    console = Console(out.append, Display(folds=True, columns=lambda: 39))
    for event in (progress, REFUSED, progress):
        console.show(event)
    shown = "".join(out)
    assert not set(shown) & {"\x1b", "\r"}
    assert max(map(len, shown.splitlines())) <= 39


@pytest.mark.parametrize("columns", [39, 45, 60, 66, 79])
def test_the_progress_bar_shows_amount_and_total_at_any_width(columns: int) -> None:
    event = {"event": "fetch.progress", "artifact": "rootfs", "done": 5 << 20, "size": 365 << 20}
    bar = progress_bar(event | {"rate": 5 << 20}, columns)
    assert len(bar) <= columns
    assert "5.0 of 365.0 MiB" in bar
    assert ("left" in bar) is (columns >= 66)


@pytest.mark.parametrize(("done", "size"), [(0, 0), (10, 10), (10**15, 3)])
def test_the_bar_stays_within_the_width(done: int, size: int) -> None:
    event = {"event": "fetch.progress", "artifact": "a" * 99, "done": done, "size": size}
    assert len(progress_bar(event)) <= COLUMNS


@pytest.mark.parametrize("event", [{}, {"event": "transition"}, {"event": "unknown"}])
def test_an_unknown_event_shows_nothing(event: dict[str, object]) -> None:
    assert line_for(event) is None


def test_the_progress_bar_shows_rate_and_remaining_time() -> None:
    event = {"event": "fetch.progress", "artifact": "rootfs", "done": 512 << 20, "size": 1 << 30}
    bar = progress_bar(event | {"rate": 10 << 20})
    assert bar.endswith("512.0 of 1024.0 MiB, 10.0 MiB/s, 0:51 left")
    assert "#" * 10 + "-" * 10 in bar


@pytest.mark.parametrize("rate", [0, -5, 1, 2**62])
def test_an_impossible_rate_still_draws_one_line_of_ascii(rate: int) -> None:
    event = {"event": "fetch.progress", "artifact": "rootfs", "done": 1 << 30, "size": 1 << 40}
    bar = progress_bar(event | {"rate": rate})
    assert len(bar) <= COLUMNS
    assert bar.isascii()
    assert bar.isprintable()
