"""Attacks through the Seed Shell: by its input, and by the text that it shows."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase_boot.adapters.terminal.console_operator import ConsoleOperator
from phase_boot.adapters.terminal.menu import MENU
from phase_boot.adapters.terminal.terminals import Terminals
from phase_boot.console import journal_text, screen
from phase_boot.content.digest import Digest
from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.sample_manifest import KERNEL, UNTRUSTED_KEY, document, signed
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.journal.record import decoded
from phase_boot.machine.graph import EDGES, State, Trigger
from phase_boot.ports.network import Setup
from phase_boot.ports.operator import Answer, MenuAction, Report
from states.shell import HANDLER
from tests.support.console_user import ConsoleUser
from tests.support.examples import examples

MANIFEST = "stable/amd64/manifest.json"
KERNEL_PATH = f"cas/sha256/{Digest.of(KERNEL).hex}"
HOSTS = ("unsigned", "tampered", "expired", "gone")


def hostile(mode: str, *, root: bool) -> Scenario:
    """Return a boot in which all that is offered must be refused."""
    tampered = good_server()
    tampered.tamper = lambda path, data: bytes(len(data)) if path == KERNEL_PATH else data
    scenario = lan_scenario(
        unsigned=FakeServer(
            {**good_server().files, MANIFEST: signed(document(mirrors=[]), UNTRUSTED_KEY)}
        ),
        tampered=tampered,
        expired=good_server(expires="2025-11-02T00:00:00Z"),
        gone=FakeServer({}),
    )
    table = scenario.platform.table
    table["mode"] = mode
    table["cache_enabled"] = mode != "private"
    table["network"]["reach"] = "lan" if mode == "local" else "internet"
    table["shell"]["root"] = root
    return scenario


EXPIRED = datetime(2025, 11, 2, tzinfo=UTC)
"""When the last of what is refused for its date expired: a clock set to before is another story."""
URLS = st.sampled_from([f"http://{host}/{MANIFEST}" for host in HOSTS])
ANSWERS = st.builds(
    Answer,
    st.sampled_from(MenuAction),
    st.none() | URLS | st.text(max_size=20),
    st.none() | st.just(Setup(interface="eth0")),
    st.none()
    | st.just(EXPIRED)
    | st.datetimes(EXPIRED.replace(tzinfo=None), timezones=st.just(UTC)),
)


@settings(max_examples=examples(60))
@given(
    answers=st.lists(ANSWERS, max_size=6),
    choices=st.lists(st.none() | URLS | st.text(max_size=20), max_size=6),
    mode=st.sampled_from(["internet", "local", "private"]),
    root=st.booleans(),
)
def test_no_sequence_of_answers_boots_what_was_refused(
    answers: list[Answer], choices: list[str | None], mode: str, *, root: bool
) -> None:
    scenario = hostile(mode, root=root)
    scenario.operator.answers, scenario.operator.choices = answers, choices
    assert scenario.run() is State.OFF
    assert State.KEXEC not in scenario.walk.states
    assert scenario.kexec.kernel is None
    assert not scenario.kexec.jumped
    if mode == "private":
        assert scenario.reports.saved == {}
    if not root:
        assert MenuAction.ROOT_SHELL not in scenario.operator.performed


def test_every_exit_of_the_shell_restarts_or_ends_the_run() -> None:
    ways = {edge.target for edge in EDGES if edge.source is State.SHELL}
    assert ways == {State.INIT, State.OFF}
    assert HANDLER.leads == {Trigger.RETRY, Trigger.AUTO_RETRY, Trigger.LEAVE}


def test_no_action_boots_without_verification() -> None:
    assert set(MenuAction) == {
        MenuAction.RETRY, MenuAction.CANDIDATE, MenuAction.URL, MenuAction.NETWORK,
        MenuAction.CLOCK, MenuAction.SAVE, MenuAction.ROOT_SHELL, MenuAction.REBOOT,
        MenuAction.POWER_OFF, MenuAction.QUIT,
    }  # fmt: skip
    assert not any("anyway" in meaning for _, meaning in MENU.values())


OFFERED = (MenuAction.RETRY, MenuAction.URL, MenuAction.REBOOT)
KEYS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"\r", b"\x03", b"\x04", b"\x1b", b"\x1b[A", b"y\r", b"s\r", b"x\r", b"c\r"]),
)


@settings(max_examples=examples(15))
@given(st.lists(KEYS, max_size=12))
def test_any_typed_input_gives_an_offered_action(typed: list[bytes]) -> None:
    async def typing() -> Answer:
        report = Report(cause="it", way_out="", refusals=(), actions=OFFERED)
        with ConsoleUser() as person:
            shell = ConsoleOperator(Terminals([person.terminal]))
            asking = asyncio.create_task(shell.ask(report))
            for keys in typed:
                await person.pour(keys, asking)
            # As a person would: cancel the pending input, then choose an action.
            async with asyncio.timeout(60):
                while not asking.done():
                    for keys in (b"\x03", b"\r", b"r\r"):
                        await person.pour(keys, asking)
            answer = await asking
            assert not person.is_raw
            return answer

    answer = asyncio.run(typing())
    assert answer.action in OFFERED
    assert (answer.url is None) == (answer.action is not MenuAction.URL)


@given(st.text(), st.text(), st.integers(40, 200), st.integers(10, 60))
def test_nothing_that_is_shown_moves_the_cursor_or_leaves_its_line(
    cause: str, refusal: str, columns: int, rows: int
) -> None:
    lines = screen.opening(cause, [refusal] * 9, [refusal] * 99, columns=columns, rows=rows)
    assert len(lines) <= max(rows, 1 + screen.CAUSE_ROWS)
    for page in screen.pages([cause, refusal], columns=columns, rows=rows):
        assert len(page) < rows
        lines += page
    lines += screen.numbered([(cause, "lan", refusal)], columns=columns)
    assert all(len(line) < columns and line.isascii() for line in lines)
    assert all(line.isprintable() for line in lines)


@given(st.lists(st.text() | st.builds(json.dumps, st.dictionaries(st.text(), st.text()))))
def test_a_report_of_any_journal_is_bounded_ascii(journal: list[str]) -> None:
    events = [event for event in map(decoded, journal) if event is not None]
    text = journal_text.report_text(
        [("cause", "\x1b[2J")], ["\x07"], events=events, journal="\n".join(journal)
    )
    assert len(text) <= journal_text.MAX_REPORT
    assert text.isascii()
    assert "\x1b" not in text
    assert "\x07" not in text


@pytest.mark.parametrize("size", [journal_text.MAX_REPORT * 2, 10])
def test_of_a_journal_that_is_too_long_the_end_is_kept(size: int) -> None:
    journal = "\n".join(f"line {number}" for number in range(size // 10)) + "\nthe last"
    text = journal_text.report_text([("cause", "it")], [], events=(), journal=journal)
    assert len(text) <= journal_text.MAX_REPORT
    assert text.endswith("the last\n")
