"""A journal that was changed in one field is refused, or the field is listed with the reason."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase_boot.drill.injection import Plan
from phase_boot.drill.run import run_scenario
from phase_boot.drill.sample_manifest import document
from phase_boot.drill.scenarios import SCENARIOS
from phase_boot.journal import replay as replay_module
from phase_boot.journal import schema
from phase_boot.journal.replay import ImpossibleJournalError, replay
from phase_boot.trust.manifest import Manifest
from tests.support.examples import examples


@cache
def journal(scenario: str) -> tuple[str, ...]:
    return tuple(run_scenario(SCENARIOS[scenario](), Plan()).scenario.journal.lines)


def refused(lines: list[str]) -> bool:
    try:
        replay(lines)
    except ImpossibleJournalError:
        return True
    return False


def changed(value: Any) -> Iterator[Any]:
    """Yield other values that JSON may have instead of ``value``."""
    yield {"an": "object"}
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1000, -1 - value, str(value))
        if isinstance(value, int):
            yield from (value + 1, value - 1, value + 0.5)
    elif isinstance(value, str):
        yield from (f"{value}x", "", value[::-1], None, 1, "x" * 3000)
    elif isinstance(value, list):
        yield from ([*value, "x"], [], None, "x")
    else:
        yield from ("x", 1)


def _first_and_last(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the numbers of the first and the last record of each kind in each neighbourhood."""
    kinds = [None, *((record["event"], *sorted(record)) for record in records), None]
    around = [tuple(kinds[at : at + 3]) for at in range(len(records))]
    first = {kind: number for number, kind in reversed(list(enumerate(around)))}
    last = {kind: number for number, kind in enumerate(around)}
    return sorted({*first.values(), *last.values()})


def mutants(lines: tuple[str, ...]) -> Iterator[tuple[str, str, Any, list[str]]]:
    """Yield journals with one field changed: the event, the field and its value beside each.

    Of lines that are alike, with the same neighbours, the first and the last are changed: a machine
    that waits for days repeats the same round.
    """
    records = [json.loads(line) for line in lines]
    for number in _first_and_last(records):
        record = records[number]
        for field, value in record.items():
            for other in (*changed(value), ...):
                mutant = {k: v for k, v in record.items() if k != field or other is not ...}
                if other is not ...:
                    mutant[field] = other
                mutated = [*lines[:number], json.dumps(mutant), *lines[number + 1 :]]
                yield record["event"], field, other, mutated


ONCE = "no other line repeats it"
PEER = "what another machine or the network said"
WORDS = "free text for a person"
UNCHECKABLE: Mapping[tuple[str, str], str] = {
    ("candidate.found", "finder"): PEER,
    ("candidate.found", "url"): "unless that candidate is asked later",
    ("candidate.refused", "code"): "beyond its form: plugins have codes of their own",
    ("candidate.refused", "reason"): WORDS,
    ("fetch.done", "sha256"): "unless the manifest is given, or the command line repeats it",
    ("fetch.done", "size"): "unless the manifest is given, or a line before it has the size",
    ("fetch.done", "source"): "unless a hand-over repeats it",
    ("fetch.progress", "done"): "beyond the size",
    ("fetch.progress", "rate"): ONCE,
    ("fetch.started", "offset"): "beyond the size",
    ("fetch.started", "source"): PEER,
    ("kernel.inspected", "packing"): ONCE,
    ("kernel.inspected", "reason"): WORDS,
    ("kernel.inspected", "version"): ONCE,
    ("kexec.failed", "errno"): "beyond the names that there are",
    ("kexec.failed", "reason"): WORDS,
    ("kexec.jump", "rss_peak"): ONCE,
    ("kexec.loaded", "cmdline"): "beyond the words that the hand-over adds",
    ("link.up", "addresses"): PEER,
    ("link.up", "dns"): PEER,
    ("link.up", "gateways"): PEER,
    ("link.up", "interface"): ONCE,
    ("link.up", "vlan"): ONCE,
    ("loader.staged", "entry"): ONCE,
    ("loader.staged", "size"): ONCE,
    ("manifest.verified", "channel"): "unless the manifest is given",
    ("manifest.verified", "version"): "unless the manifest is given, or that version is started",
    ("network.set", "addresses"): ONCE,
    ("network.set", "interface"): ONCE,
    ("network.set", "vlan"): ONCE,
    ("record.accepted", "name"): PEER,
    ("record.accepted", "sequence"): PEER,
    ("record.accepted", "url"): PEER,
    ("record.accepted", "validity"): PEER,
    ("report.saved", "where"): ONCE,
    ("root.followed", "url"): ONCE,
    ("root.followed", "seen"): "beyond not being above a version that is verified",
    ("shell.opened", "cause"): WORDS,
    ("shell.opened", "way_out"): WORDS,
    ("source.failed", "retryable"): ONCE,
    ("source.failed", "reason"): WORDS,
    ("source.failed", "source"): PEER,
    ("stage", "name"): ONCE,
    ("stage", "reached"): "beyond lying in the past",
    ("state.doubted", "code"): "beyond its form",
    ("state.doubted", "reason"): WORDS,
    ("store.corrupt", "reason"): WORDS,
    ("store.opened", "note"): WORDS,
    ("store.opened", "persistent"): "unless trust.recalled follows",
    ("transition", "elapsed"): "a shorter stay; the machine may have been suspended",
    ("transition", "at"): "a later last line; the machine may have been suspended",
    ("transition", "cause"): "beyond its form: plugins have failures of their own",
    ("trust.recalled", "root"): "unless a root is followed after it",
    ("trust.recalled", "seen"): "beyond not being above a version that is verified",
}
"""The fields of which some change cannot be noticed in a journal alone, and why."""
TYPED_ONLY = frozenset(
    {
        "candidate.deferred",
        "chunk_list.unavailable",
        "clock.not_set",
        "clock.set",
        "document.redirected",
        "reply.ignored",
        "journal.cut",
        "link.refused",
        "peer_sharing.failed",
        "privacy.checked",
        "retry.early",
        "retry.scheduled",
        "retry.stopped",
        "source.served",
        "tracker.joined",
    }
)
"""The events whose fields have a type, and which nothing else in the journal repeats."""


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_journal_of_each_scenario_is_replayed(scenario: str) -> None:
    assert not refused(list(journal(scenario)))


@pytest.fixture
def parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse each line once: the mutants of a journal differ from it in one line."""
    parse = cache(replay_module._parsed)  # noqa: SLF001 - only the line determines what it returns

    def read_only(line: str) -> Mapping[str, Any]:
        return MappingProxyType(parse(line))

    monkeypatch.setattr(replay_module, "_parsed", read_only)


@pytest.mark.usefixtures("parsed_once")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_change_of_one_field_is_refused_or_its_field_is_listed(scenario: str) -> None:
    missed = set()
    for event, field, _, mutant in mutants(journal(scenario)):
        typed_only = event in TYPED_ONLY and field not in schema.STAMPS
        listed = (event, field) in UNCHECKABLE or typed_only
        if not listed and not refused(mutant):
            missed.add((event, field))
    assert missed == set()


def test_each_listed_field_is_in_the_decision_record() -> None:
    page = (Path(__file__).parents[3] / "docs/adr/0002-machine.md").read_text()
    missing = [key for key in UNCHECKABLE if f"`{key[0]}` {key[1]}" not in page]
    assert missing == []


@pytest.mark.parametrize("field", ["version", "channel", "arch", "sha256", "size"])
def test_with_the_manifest_no_version_hash_or_size_can_be_edited(field: str) -> None:
    lines = journal("internet")
    manifest = Manifest.of(document())
    replay(lines, manifest=manifest)
    other = {
        "version": "2025.11.13",
        "channel": "beta",
        "arch": "arm64",
        "sha256": "0" * 64,
        "size": 7,
    }
    edited = 0
    for number, line in enumerate(lines):
        record = json.loads(line)
        if field in record and record["event"] in {"manifest.verified", "fetch.done", "kexec.jump"}:
            changed_line = json.dumps(record | {field: other[field]})
            with pytest.raises(ImpossibleJournalError):
                replay([*lines[:number], changed_line, *lines[number + 1 :]], manifest=manifest)
            edited += 1
    assert edited


def test_every_event_class_of_the_tree_is_known_to_the_schema() -> None:
    root = Path(__file__).parents[3] / "phase_boot"
    names = {
        node.name
        for path in root.rglob("*.py")
        # A provider and the target emit their own events; no boot writes them to a journal.
        if path not in {root / "provider" / "events.py", root / "plasma" / "events.py"}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Event" for base in node.bases)
    }
    assert {kind.__name__ for kind in schema.event_types().values()} == names


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"seq":' * 100_000])
def test_a_line_that_is_nested_too_deep_is_no_event(deep: str) -> None:
    with pytest.raises(ImpossibleJournalError, match="line 1: not an event"):
        replay([deep])


def test_an_empty_file_is_no_journal() -> None:
    with pytest.raises(ImpossibleJournalError, match="it is empty"):
        replay([])


def restarted(before: Sequence[str], **changes: Any) -> list[str]:
    """Return a journal of a run that was killed after ``lines``, and the first line of the next."""
    at = json.loads(before[-1])["at"]
    first = {
        "boot_id": "next",
        "seq": 0,
        "at": at,
        "event": "run.interrupted",
        "lines": len(before),
    }
    return [*before, json.dumps(first | changes)]


@pytest.mark.parametrize(
    "changes",
    [
        {"lines": 3},
        {"event": "link.missing", "reason": "x"},
        {"at": 0.0},
        {"boot_id": "drill"},
        {"seq": 1},
    ],
)
def test_another_run_begins_only_where_one_was_interrupted(changes: dict[str, Any]) -> None:
    lines = journal("internet")[:20]
    replay(restarted(lines))
    edited = restarted(lines, **changes)
    if "event" in changes:
        record = json.loads(edited[-1])
        del record["lines"]
        edited[-1] = json.dumps(record)
    with pytest.raises(ImpossibleJournalError, match="line 21"):
        replay(edited)


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_lines_that_are_dropped_doubled_or_swapped_are_noticed(data: st.DataObject) -> None:
    lines = list(journal(data.draw(st.sampled_from(sorted(SCENARIOS)))))
    first = data.draw(st.integers(0, len(lines) - 2))
    edited = data.draw(
        st.sampled_from(
            [
                lines[:first] + lines[first + 1 :],
                lines[: first + 1] + lines[first:],
                [*lines[:first], lines[first + 1], lines[first], *lines[first + 2 :]],
            ]
        )
    )
    assert refused(edited)


def test_the_hand_over_of_a_long_journal_may_lack_its_beginning() -> None:
    lines = journal("internet")
    for first in range(1, len(lines)):
        replay(lines[first:], partial=True)
        with pytest.raises(ImpossibleJournalError, match="sequence"):
            replay(lines[first:])
