"""The Seed Shell at real pseudo-terminals, read from the screen of a VT100."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from phase_boot.adapters.terminal.console_operator import ConsoleOperator, NoOperator
from phase_boot.adapters.terminal.menu import MENU
from phase_boot.adapters.terminal.terminals import Terminals
from phase_boot.ports.network import Setup
from phase_boot.ports.operator import Answer, CandidateOption, MenuAction, Report
from tests.support.console_user import ConsoleUser

CHOICE = "choice:"
URL = "http://10.0.0.1/m.json"
EVENING = datetime(2026, 11, 29, 20, 53, tzinfo=UTC)
SEED_ACTIONS = tuple(wish for wish in MenuAction if wish is not MenuAction.QUIT)


def event(number: int, **fields: object) -> dict[str, object]:
    return {"event": "link.up", "seq": number, "at": number, "boot_id": "b"} | fields


EVENTS = tuple(event(n, interface=f"eth{n}", addresses=["10.0.0.2"]) for n in range(60))
REPORT = Report(
    cause="nothing\x1b[31m offers stable here, " + "however long one looks, " * 9,
    way_out="Retry, type a URL, reboot or power off.",
    refusals=tuple(f"http://{name}/m.json: \x07it has expired, " + "so " * 60 for name in "abcde"),
    events=EVENTS,
    actions=tuple(MenuAction),
    interfaces=("eth0", "eth1"),
)


@pytest.fixture
async def person() -> AsyncIterator[ConsoleUser]:
    with ConsoleUser() as somebody:
        yield somebody


@pytest.fixture
async def other() -> AsyncIterator[ConsoleUser]:
    with ConsoleUser(80, 25) as somebody:
        yield somebody


def operator(*people: ConsoleUser, **settings: Any) -> ConsoleOperator:
    return ConsoleOperator(Terminals([person.terminal for person in people]), **settings)


def asking(*people: ConsoleUser, report: Report = REPORT, **settings: Any) -> asyncio.Task[Answer]:
    return asyncio.create_task(operator(*people, **settings).ask(report))


@pytest.mark.parametrize("dumb", [False, True], ids=["vt100", "dumb"])
@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (["r"], Answer(MenuAction.RETRY)),
        ([" R "], Answer(MenuAction.RETRY)),
        (["c"], Answer(MenuAction.CANDIDATE)),
        (["s"], Answer(MenuAction.SAVE)),
        (["x"], Answer(MenuAction.ROOT_SHELL)),
        (["b"], Answer(MenuAction.REBOOT)),
        (["o"], Answer(MenuAction.POWER_OFF)),
        (["what?", "", "boot anyway", "q", "r"], Answer(MenuAction.RETRY)),
        (["u", URL], Answer(MenuAction.URL, URL)),
        (["u", "file:///etc/passwd", "http://a b", f"  {URL}  "], Answer(MenuAction.URL, URL)),
        (["u", "", "r"], Answer(MenuAction.RETRY)),
        (["j", "", "r"], Answer(MenuAction.RETRY)),
        (["t", "2026-11-29 20:53"], Answer(MenuAction.CLOCK, wall=EVENING)),
        (["t", "2026-11-29T20:53:00Z"], Answer(MenuAction.CLOCK, wall=EVENING)),
        (["t", "2026-11-29T22:53:00+02:00"], Answer(MenuAction.CLOCK, wall=EVENING)),
        (
            ["t", "now", "2026-13-01 00:00", "20:53", "2026-11-29 20:53"],
            Answer(MenuAction.CLOCK, wall=EVENING),
        ),
        (["t", "", "r"], Answer(MenuAction.RETRY)),
        (
            ["n", "eth1", "", "", "", "", "y"],
            Answer(MenuAction.NETWORK, setup=Setup(interface="eth1")),
        ),
        (["n", "eth1", "", "", "", "", "n", "r"], Answer(MenuAction.RETRY)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
async def test_typed_letters_choose_menu_actions(
    person: ConsoleUser, typed: list[str], answer: Answer, *, dumb: bool
) -> None:
    task = asking(person, dumb=dumb)
    for line in typed:
        person.type(f"{line}\r")
    assert await task == answer
    assert not person.is_raw


async def test_a_network_is_set_up_field_by_field_and_invalid_input_is_prompted_again(
    person: ConsoleUser,
) -> None:
    task = asking(person)
    await person.answer(CHOICE, "n")
    await person.see("Interfaces: eth0, eth1")
    await person.answer("Interface [eth0]:", "wlan9")
    await person.see("No: 'wlan9' is none of eth0, eth1.")
    await person.answer("Interface", "")
    await person.answer("Addresses", "10.0.0.9")
    await person.see("'10.0.0.9' has no prefix")
    await person.answer("Addresses", "10.0.0.9/24, fd00::9/64")
    await person.answer("Gateway", "\x1b[31mx")
    await person.answer("Gateway", "10.9.9.9")
    await person.answer("Name servers", "fd00::1")
    await person.answer("VLAN", "4095")
    await person.see("This configuration is invalid: a VLAN has a number from 1 to 4094.")
    await person.answer("Interface", "")
    await person.answer("Addresses", "10.0.0.9/24 fd00::9/64")
    await person.answer("Gateway", "10.0.0.1")
    await person.answer("Name servers", "fd00::1")
    await person.answer("VLAN", "seven")
    await person.answer("VLAN", "7")
    await person.answer("Set eth0 to 10.0.0.9/24, fd00::9/64?", "maybe")
    await person.answer("Type one of y n", "y")
    answer = await task
    assert answer.setup == Setup(
        interface="eth0",
        addresses=(ip_interface("10.0.0.9/24"), ip_interface("fd00::9/64")),
        gateways=(ip_address("10.0.0.1"),),
        dns=(ip_address("fd00::1"),),
        vlan=7,
    )


async def test_the_first_screen_fits_a_serial_line_and_nothing_on_it_is_a_command(
    person: ConsoleUser,
) -> None:
    task = asking(person)
    await person.see(CHOICE)
    shown = "\n".join(person.screen)
    assert "Phase Boot stopped: nothing\\x1b[31m offers stable here, however" in shown
    assert "- refused: http://e/m.json: \\x07it has expired" in shown
    assert "eth59 has 10.0.0.2" in shown
    assert all(f"  {MENU[wish][0]}  {MENU[wish][1]}" in shown for wish in SEED_ACTIONS)
    assert "j  show the journal" in shown
    assert "anyway" not in shown
    assert "\x1b[31m" not in person.shown
    assert "\x1b[6n" not in person.shown
    assert person.screen[0] == ""
    assert person.screen[24] == "Your choice:"
    task.cancel()


async def test_a_small_screen_shows_the_cause_and_the_menu() -> None:
    with ConsoleUser(60, 20) as person:
        task = asking(person)
        await person.see(CHOICE)
        assert "Phase Boot stopped" in "\n".join(person.screen)
        rows = [row for row in person.screen if row]
        assert rows[-2:] == ["  j  show the journal", "Your choice:"]
        task.cancel()


async def test_an_action_that_is_not_offered_is_neither_shown_nor_accepted(
    person: ConsoleUser,
) -> None:
    private = Report(
        cause="it",
        way_out="",
        refusals=(),
        mode="private",
        actions=(MenuAction.RETRY, MenuAction.URL),
    )
    task = asking(person, report=private)
    await person.see(CHOICE)
    shown = "\n".join(person.screen)
    assert "save" not in shown
    assert "root" not in shown
    person.type("s\rx\rr\r")
    assert await task == Answer(MenuAction.RETRY)
    assert "'s' is none of r u j." in person.shown
    assert "'x' is none of r u j." in person.shown


async def test_a_note_is_shown_with_the_menu_alone(person: ConsoleUser) -> None:
    noted = Report(
        cause="it", way_out="", refusals=(), actions=SEED_ACTIONS, note="Saved\x1bat /x. "
    )
    task = asking(person, report=noted)
    await person.see(CHOICE)
    assert "Saved\\x1bat /x." in person.screen
    assert "stopped" not in person.shown
    task.cancel()


async def test_the_journal_is_paged_from_its_end(person: ConsoleUser) -> None:
    task = asking(person)
    await person.answer(CHOICE, "j")
    await person.see("Page 3 of 3")
    assert "interface=eth59" in "\n".join(person.screen)
    person.type("b\r")
    await person.see("Page 2 of 3")
    assert "interface=eth47" in person.screen[23]
    assert "interface=eth24" in person.screen[0]
    person.type("\x15n\rn\r")
    await person.see("Page 3 of 3")
    await person.see("Page 3 of 3")
    person.type("\r")
    await person.answer(CHOICE, "r")
    assert await task == Answer(MenuAction.RETRY)


async def test_a_candidate_is_chosen_by_its_number(person: ConsoleUser) -> None:
    offers = [
        CandidateOption(
            url=f"http://{n}/\x1b[2J{'x' * 200}", finder="lan", refused="it \x07lies" if n else None
        )
        for n in range(15)
    ]
    task = asyncio.create_task(operator(person).choose(offers))
    await person.see("Number")
    shown = "\n".join(person.screen)
    assert "   1  lan: http://0/\\x1b[2Jxxx" in shown
    assert "refused before: it \\x07lies" in shown
    person.type("0\r16\r9999999\rone\r\r")
    await person.see("Type a number from 1 to 15.")
    await person.see("http://14/")
    person.type("15\r")
    assert await task == offers[14].url


@pytest.mark.parametrize("typed", ["\r\r", "\x03", "\x04"])
async def test_no_candidate_need_be_chosen(person: ConsoleUser, typed: str) -> None:
    offers = [CandidateOption(url=f"http://{n}/", finder="lan", refused=None) for n in range(3)]
    task = asyncio.create_task(operator(person).choose(offers))
    await person.see("Number")
    person.type(typed)
    assert await task is None


@pytest.mark.parametrize("key", [b"\x03", b"\x04", b"\x1a", b"\x1c"])
async def test_no_control_key_ends_the_shell(person: ConsoleUser, key: bytes) -> None:
    task = asking(person)
    for prompt, line in (("choice:", "u"), ("URL", None), ("choice:", "n"), ("Interface", None)):
        await person.see(prompt)
        person.type(key if line is None else f"{line}\r")
        if line is None and key not in b"\x03\x04":
            person.type("\x03")
    await person.see(CHOICE)
    person.type(key * 3 + b"r\r")
    assert await task == Answer(MenuAction.RETRY)
    assert not person.is_raw


@pytest.mark.parametrize(
    "noise",
    [
        bytes(range(32, 256)),
        bytes(n for n in range(256) if n not in b"\r\n"),
        b"\x1b[200~" + b"pasted " * 400,
        b"\x1b[" + b"1;" * 9000,
        b"\x1b[M\xff\xff\xff\x1b[<0;1;1M\x1b[1;1R\x1b[99;99R",
        b"\x1b9" * 6 + b"x" * 100 + b"\x0b" + b"\x19" * 50,
        b"A" * 20_000,
        b"\x00" * 5000,
        b"\xff\xfe\xfd" * 3000,
    ],
    ids=["bytes", "controls", "paste", "sequence", "mouse", "repeat", "long", "null", "no-utf8"],
)
async def test_noise_on_the_line_chooses_nothing_and_the_next_line_is_read(
    person: ConsoleUser, noise: bytes
) -> None:
    task = asking(person)
    await person.see(CHOICE)
    await person.pour(noise, task)
    assert not task.done()
    # It ends the line that the noise may have begun; then one of its own.
    person.type("\rr\r")
    assert await task == Answer(MenuAction.RETRY)
    assert not person.is_raw


async def test_every_console_is_asked_and_any_may_answer(
    person: ConsoleUser, other: ConsoleUser
) -> None:
    task = asking(person, other)
    await person.see(CHOICE)
    await other.see(CHOICE)
    person.type("u\r")
    await person.see("URL of a manifest")
    other.type("o\r")
    assert await task == Answer(MenuAction.POWER_OFF)
    await person.see("Answered at ")
    assert not person.is_raw
    assert not other.is_raw


async def test_a_console_that_hangs_up_leaves_the_others(
    person: ConsoleUser, other: ConsoleUser
) -> None:
    task = asking(person, other)
    await other.see(CHOICE)
    person.hang_up()
    other.type("r\r")
    assert await task == Answer(MenuAction.RETRY)


async def test_without_a_terminal_the_seed_waits_and_a_desktop_quits(person: ConsoleUser) -> None:
    task = asking(person, dry_run=True)
    await person.see(CHOICE)
    person.terminal.path = None
    person.hang_up()
    assert await task == Answer(MenuAction.QUIT)


async def test_on_a_desktop_no_action_on_the_machine_is_offered(person: ConsoleUser) -> None:
    task = asking(person, dry_run=True)
    await person.see(CHOICE)
    shown = "\n".join(person.screen)
    assert "quit" in shown
    assert not any(word in shown for word in ("reboot", "power", "network", "root", "save"))
    person.type("\x03")
    assert await task == Answer(MenuAction.QUIT)


async def test_the_prompt_survives_a_resized_window(person: ConsoleUser) -> None:
    task = asking(person)
    await person.see(CHOICE)
    person.resize(40, 12)
    person.type("j\r")
    await person.see("Page 11 of 11")
    assert max(map(len, person.screen)) <= 40
    person.resize(132, 50)
    person.type("\rr\r")
    assert await task == Answer(MenuAction.RETRY)


async def test_a_line_is_edited_as_on_any_terminal(person: ConsoleUser) -> None:
    task = asking(person)
    await person.answer(CHOICE, "u")
    await person.see("URL of a manifest.json")
    person.type("ttp://10.0.0.1/m.jsoX\x7fn\x01h\x05\x1b[D\x1b[D\x1bOC\x1b[C\x1b[Hx\x1b[D\x1b[3~\r")
    assert await task == Answer(MenuAction.URL, URL)


async def test_a_failing_line_editor_falls_back_to_plain_lines(
    person: ConsoleUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "phase_boot.adapters.terminal.console_session.EDITOR", "phase_boot.adapters.not_there"
    )
    monkeypatch.setattr(
        "phase_boot.adapters.terminal.console_operator.EDITOR", "phase_boot.adapters.not_there"
    )
    task = asking(person)
    await person.see("Lines cannot be edited here (ModuleNotFoundError).")
    await person.answer(CHOICE, "r")
    assert await task == Answer(MenuAction.RETRY)


async def test_a_terminal_left_raw_by_a_killed_process_echoes_again(
    person: ConsoleUser,
) -> None:
    import tty  # noqa: PLC0415 - for this one terminal

    tty.setraw(person.terminal.reader)
    assert person.is_raw
    assert person.terminal.reopen()
    assert not person.is_raw


async def test_a_root_shell_runs_on_the_console_that_requested_it_and_the_menu_returns(
    person: ConsoleUser, other: ConsoleUser
) -> None:
    shell = operator(person, other)
    task = asyncio.create_task(shell.ask(REPORT))
    await person.answer(CHOICE, "x")
    assert await task == Answer(MenuAction.ROOT_SHELL)
    running = asyncio.create_task(shell.perform(MenuAction.ROOT_SHELL))
    await person.see("can boot unverified systems")
    await other.see("A root shell is open at ")
    person.type("echo $((6 * 7)) $TERM; tty\r")
    await person.see("42 vt102")
    await person.see(str(person.path))
    # Ctrl-C reaches what runs in the shell, so it has a terminal of its own.
    # The word comes from the child, which is in the foreground by then; its echo has quotes in it.
    person.type("sh -c 'echo be''gun; exec sleep 1000'\r")
    await person.see("begun")
    person.type("\x03")
    person.type("echo still\\ here\r")
    await person.see("still here")
    person.type("stty raw -echo; exit\r")
    await running
    assert not person.is_raw
    again = asyncio.create_task(shell.ask(REPORT))
    await person.answer(CHOICE, "r")
    assert await again == Answer(MenuAction.RETRY)


async def test_a_root_shell_can_be_ended_from_another_console(
    person: ConsoleUser, other: ConsoleUser
) -> None:
    shell = operator(person, other)
    task = asyncio.create_task(shell.ask(REPORT))
    await person.answer(CHOICE, "x")
    await task
    running = asyncio.create_task(shell.perform(MenuAction.ROOT_SHELL))
    await person.see("can boot unverified systems")
    await other.answer("Enter ends it.", "")
    await running
    again = asyncio.create_task(shell.ask(REPORT))
    await person.answer(CHOICE, "b")
    assert await again == Answer(MenuAction.REBOOT)


async def test_without_an_operator_the_cause_is_printed_and_the_run_ends() -> None:
    messages: list[str] = []
    nobody = NoOperator(messages.append)
    assert await nobody.ask(REPORT) == Answer(MenuAction.QUIT)
    assert await nobody.choose([]) is None
    assert "offers stable here" in messages[0]


def letters(wishes: Sequence[MenuAction]) -> list[str]:
    return [MENU[wish][0] for wish in wishes]


def test_every_menu_action_has_one_letter_and_a_name() -> None:
    assert sorted(MENU) == sorted(MenuAction)
    assert len({*letters(list(MenuAction)), "j"}) == len(MenuAction) + 1
