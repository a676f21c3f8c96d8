"""The journal: its records, its sinks, and failing sinks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.drill.fakes import MemorySink
from phase_boot.journal.content_events import FetchDone, FetchProgress
from phase_boot.journal.journal import MAX_EVENTS, MAX_LINES, MAX_TEXT, Journal
from phase_boot.journal.network_events import CandidateRefused, LinkMissing, LinkUp
from phase_boot.journal.record import Record
from phase_boot.journal.replay import ImpossibleJournalError, replay
from phase_boot.journal.run_events import RunInterrupted, StateEntered, Transition
from phase_boot.machine.graph import FALLBACK, START, TERMINAL, State, Trigger, triggers_of
from phase_boot.machine.guard import Guard


class FailingSink(MemorySink):
    def write(self, record: Record) -> None:
        raise OSError(28, f"No space left on device for {len(record.line)} characters")


def journal_to(*sinks: MemorySink) -> Journal:
    return Journal(sinks, now=lambda: 12.34567, boot_id="b00t")


def test_an_event_is_one_line_of_json_with_its_stamps() -> None:
    lines = MemorySink()
    journal = journal_to(lines)
    journal.emit(
        LinkUp(
            interface="eth0",
            addresses=("10.0.0.2/24", "fd00::2/64"),
            gateways=("10.0.0.1",),
        )
    )
    assert [json.loads(line) for line in lines.lines] == [
        {
            "boot_id": "b00t",
            "event": "link.up",
            "seq": 0,
            "at": 12.3457,
            "interface": "eth0",
            "addresses": ["10.0.0.2/24", "fd00::2/64"],
            "gateways": ["10.0.0.1"],
            "dns": [],
            "vlan": None,
        }
    ]
    assert journal.lines == tuple(lines.lines)


class KeepingSink(MemorySink):
    """Keeps the records themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def write(self, record: Record) -> None:
        self.records.append(record)
        super().write(record)


def test_every_sink_gets_the_same_record_and_its_one_encoding() -> None:
    one, other = KeepingSink(), KeepingSink()
    event = LinkUp(interface="eth0", addresses=("10.0.0.2/24",))
    journal_to(one, other).emit(event)
    ((first,), (second,)) = one.records, other.records
    assert first is second
    assert (first.event, first.seq, first.boot_id) == (event, 0, "b00t")
    assert one.lines[0] is other.lines[0]
    assert json.loads(first.line) == {**first.fields, "addresses": ["10.0.0.2/24"]} | {
        name: [] for name in ("gateways", "dns")
    }


def test_a_record_holds_the_event_as_it_was_written_cut_and_clamped() -> None:
    sink = KeepingSink()
    journal = journal_to(sink)
    journal.emit(CandidateRefused(url="u" * 10_000, code="c", reason="r"))
    journal.emit(FetchDone(artifact="uki", sha256="0", size=1, source="store", seconds=5.0))
    refused, done = (record.event for record in sink.records)
    assert refused == CandidateRefused(url="u" * MAX_TEXT, code="c", reason="r")
    assert isinstance(done, FetchDone)
    assert done.seconds == 0.0


def test_a_hostile_text_stays_inside_its_line_and_within_bounds() -> None:
    lines = MemorySink()
    hostile = '\n{"event":"kexec.jump"}\x1b[2J' + "x" * 10_000
    journal_to(lines).emit(CandidateRefused(url=hostile, code="c", reason="r"))
    (line,) = lines.lines
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(json.loads(line)["url"]) == MAX_TEXT


def test_a_failing_sink_is_dropped_and_the_others_continue() -> None:
    broken, good = FailingSink(), MemorySink()
    journal = journal_to(broken, good)
    for _ in range(2):
        journal.emit(LinkUp(interface="eth0", addresses=()))
    journal.flush()
    assert [json.loads(line)["event"] for line in good.lines] == [
        "link.up",
        "sink.lost",
        "link.up",
    ]
    assert [json.loads(line)["seq"] for line in good.lines] == [0, 1, 2]
    assert good.flushes == [3]
    assert broken.flushes == []


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40))
def test_every_walk_along_the_graph_is_replayed_as_it_was_walked(choices: list[int]) -> None:
    lines, guard, states = MemorySink(), Guard(), [START]
    journal = journal_to(lines)
    for choice in choices:
        source = guard.state
        if source in TERMINAL:
            break
        drawn = sorted(triggers_of(source))
        trigger = drawn[choice % len(drawn)]
        states.append(guard.advance(trigger))
        _walk(
            journal,
            source,
            trigger,
            guard.state,
            attempt=states.count(source) - (states[-1] is source),
        )
    assert replay(lines.lines).states == tuple(states)


def _walk(
    journal: Journal, source: State, trigger: Trigger, target: State, *, attempt: int = 1
) -> None:
    """Write what the driver writes of one visit."""
    cause = "Failed" if trigger is FALLBACK else None
    journal.emit(StateEntered(state=source, attempt=attempt))
    journal.emit(
        Transition(
            source=source,
            trigger=trigger,
            target=target,
            cause=cause,
            attempt=attempt,
            elapsed=0.0,
        )
    )


def _line(**changes: Any) -> str:
    move = {
        "boot_id": "b00t",
        "event": "transition",
        "seq": 1,
        "at": 12.5,
        "source": "init",
        "trigger": "configured",
        "target": "net_up",
        "cause": None,
        "attempt": 1,
        "elapsed": 0.0,
    }
    return json.dumps(move | changes)


ENTERED = (
    '{"boot_id": "b00t", "event": "state.entered", "seq": 0, "at": 12.5, "state": "init", '
    '"attempt": 1}'
)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["no json"], "line 1: not an event"),
        (["[]"], "line 1: not an event"),
        (['{"event": "stage"}'], "line 1: stage has not the fields of that event"),
        ([_line()], "line 1: sequence 1, expected 0"),
        (
            [ENTERED, _line(trigger="jumped", target="target")],
            "line 2: init has no edge for jumped",
        ),
        ([ENTERED, _line(target="kexec")], "line 2: configured leads to net_up, not kexec"),
        (
            [ENTERED, _line(source="fetch")],
            "line 2: a move from fetch while the machine is in init",
        ),
        ([ENTERED, _line(source="moon")], "line 2: transition has the source 'moon'"),
        ([ENTERED, _line(), _line(seq=2)], "line 3: transition between two states"),
        ([_line(seq=0)], "line 1: a move from init, which was not entered"),
    ],
)
def test_the_first_impossible_step_of_a_journal_is_named(lines: list[str], reason: str) -> None:
    with pytest.raises(ImpossibleJournalError, match=reason):
        replay(lines)


def test_a_run_that_was_killed_and_the_one_after_it_are_both_replayed() -> None:
    killed, again = MemorySink(), MemorySink()
    first = Journal([killed], now=lambda: 1.0, boot_id="one")
    _walk(first, State.INIT, Trigger.CONFIGURED, State.NET_UP)
    second = Journal([again], now=lambda: 2.0, boot_id="two", earlier=tuple(killed.lines))
    second.emit(RunInterrupted(lines=len(killed.lines)))
    _walk(second, State.INIT, Trigger.GIVE_UP, State.SHELL)
    assert second.lines == (*killed.lines, *again.lines)
    assert replay(second.lines).states == (State.INIT, State.NET_UP, State.INIT, State.SHELL)


def test_a_second_start_under_the_same_boot_id_is_refused() -> None:
    lines = MemorySink()
    for _ in range(2):
        journal = Journal([lines], now=lambda: 1.0, boot_id="one")
        _walk(journal, State.INIT, Trigger.CONFIGURED, State.NET_UP)
    with pytest.raises(ImpossibleJournalError, match="sequence 0, expected 2"):
        replay(lines.lines)


def attempts(journal: Journal, number: int) -> None:
    """Write down so many attempts that all end in the Shell, which tries again by itself."""
    for attempt in range(1, number + 1):
        for source, trigger, target, cause in (
            (State.INIT, Trigger.GIVE_UP, State.SHELL, "NotConfigured"),
            (State.SHELL, Trigger.AUTO_RETRY, State.INIT, None),
        ):
            journal.emit(StateEntered(state=source, attempt=attempt))
            move = Transition(
                source=source,
                trigger=trigger,
                target=target,
                cause=cause,
                attempt=attempt,
                elapsed=0.0,
            )
            journal.emit(move)


ROUND = 4
"""MemorySink of such an attempt."""


def test_a_journal_of_many_attempts_is_bounded_and_still_replays() -> None:
    sink = MemorySink()
    journal = journal_to(sink)
    attempts(journal, MAX_LINES // 2)
    lines = journal.lines
    assert len(sink.lines) == 2 * MAX_LINES
    assert MAX_LINES // 2 < len(lines) <= MAX_LINES + 1
    assert lines[:ROUND] == tuple(sink.lines[:ROUND])
    assert lines[-100:] == tuple(sink.lines[-100:])
    cut = json.loads(lines[ROUND])
    assert cut["event"] == "journal.cut"
    assert cut["lines"] == len(sink.lines) - (len(lines) - 1)
    assert replay(lines).end is State.INIT


def shortened() -> tuple[list[str], dict[str, Any], list[str]]:
    """Return the first attempt of a long journal, its cut, and the newest attempts."""
    journal = journal_to()
    attempts(journal, MAX_LINES // 3)
    lines = list(journal.lines)
    return lines[:ROUND], json.loads(lines[ROUND]), lines[ROUND + 1 :]


@pytest.mark.parametrize("lines", [0, -1, 5, True, "5", None])
def test_lines_that_are_left_out_are_counted_right(lines: object) -> None:
    first, cut, rest = shortened()
    with pytest.raises(ImpossibleJournalError):
        replay([*first, json.dumps({**cut, "lines": lines}), *rest])


def test_no_lines_are_left_out_within_an_attempt() -> None:
    first, cut, rest = shortened()
    earlier = json.dumps({**cut, "seq": 1, "lines": cut["lines"] + ROUND - 1})
    with pytest.raises(ImpossibleJournalError, match="within an attempt"):
        replay([first[0], earlier, *rest])


def test_the_newest_events_of_an_earlier_run_and_of_this_one_are_kept_without_progress() -> None:
    earlier = [
        Record(event=LinkMissing(reason="old"), seq=0, at=0.0).line,
        Record(event=progress(), seq=1, at=1.0).line,
        "no JSON",
    ]
    journal = Journal([], now=lambda: 2.0, boot_id="b", first_seq=2, earlier=earlier)
    journal.emit(LinkMissing(reason="new"))
    journal.emit(progress())
    assert [event["reason"] for event in journal.newest] == ["old", "new"]


def test_no_more_than_the_newest_events_are_kept() -> None:
    journal = Journal([], now=lambda: 0.0, boot_id="b")
    for number in range(MAX_EVENTS + 1):
        journal.emit(LinkMissing(reason=f"{number}"))
    assert len(journal.newest) == MAX_EVENTS
    assert journal.newest[-1]["reason"] == f"{MAX_EVENTS}"


def progress() -> FetchProgress:
    return FetchProgress(artifact="rootfs", done=1, size=2, rate=1)
