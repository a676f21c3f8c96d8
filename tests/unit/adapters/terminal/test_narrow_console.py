"""The Seed Shell at 40 columns and at a dumb terminal."""

from __future__ import annotations

import asyncio

import pytest

from phase_boot.adapters.terminal.console_operator import ConsoleOperator
from phase_boot.adapters.terminal.terminals import Terminals
from phase_boot.ports.operator import Answer, CandidateOption, MenuAction, Report
from tests.support.console_user import ConsoleUser

CHOICE = "choice:"
SEED_ACTIONS = tuple(wish for wish in MenuAction if wish is not MenuAction.QUIT)
WAY_OUT = "use another network interface, or choose another mode in the boot menu"
REPORT = Report(
    cause=(
        "Private can use no network interface here, because each keeps its burned-in hardware "
        f"address (eth1: the driver refuses another one: Operation not supported); {WAY_OUT}"
    ),
    way_out="",
    refusals=(),
    actions=SEED_ACTIONS,
    interfaces=("eth0", "eth1"),
)
DUMB = pytest.mark.parametrize("dumb", [False, True], ids=["vt100", "dumb"])


def operator(person: ConsoleUser, *, dumb: bool) -> ConsoleOperator:
    return ConsoleOperator(Terminals([person.terminal]), dumb=dumb)


def in_one_line(person: ConsoleUser) -> str:
    return " ".join(" ".join(person.screen).split())


@DUMB
async def test_the_way_out_of_a_long_sentence_and_the_whole_menu_are_on_the_screen(
    *, dumb: bool
) -> None:
    with ConsoleUser(40, 25) as person:
        task = asyncio.create_task(operator(person, dumb=dumb).ask(REPORT))
        await person.see(CHOICE)
        assert "Phase Boot stopped: Private can use no" in in_one_line(person)
        assert WAY_OUT in in_one_line(person)
        assert "r retry" in in_one_line(person)
        task.cancel()


async def test_a_sentence_that_is_too_long_for_the_screen_keeps_its_beginning_and_end() -> None:
    endless = Report(
        cause=f"nothing {'that is long ' * 40}; {WAY_OUT}",
        way_out="",
        refusals=(),
        actions=SEED_ACTIONS,
    )
    with ConsoleUser(40, 25) as person:
        task = asyncio.create_task(operator(person, dumb=True).ask(endless))
        await person.see(CHOICE)
        assert "Phase Boot stopped: nothing that is long" in in_one_line(person)
        assert WAY_OUT in in_one_line(person)
        task.cancel()


@DUMB
async def test_a_question_is_shown_whole_and_leaves_room_to_type(*, dumb: bool) -> None:
    with ConsoleUser(40, 25) as person:
        task = asyncio.create_task(operator(person, dumb=dumb).ask(REPORT))
        await person.answer(CHOICE, "n")
        await person.answer("Interface [eth0]:", "")
        await person.see("DHCP):")
        await person.see(">")
        assert "Addresses, like 192.0.2.7/24 (Enter: by DHCP): >" in in_one_line(person)
        person.type("10.0.0.9/24\r")
        await person.see("Gateway")
        assert "> 10.0.0.9/24" in in_one_line(person)
        task.cancel()


@DUMB
async def test_no_word_is_split_and_the_whole_menu_is_on_the_screen(*, dumb: bool) -> None:
    offers = [CandidateOption(url=f"http://h{n}/", finder="lan", refused=None) for n in range(50)]
    with ConsoleUser(40, 25) as person:
        task = asyncio.create_task(operator(person, dumb=dumb).choose(offers))
        await person.see("Number (Enter: more, or none):")
        assert "50 found. The one you choose is" in person.screen
        assert "   1  lan: http://h0/" in person.screen
        person.type("1\r")
        assert await task == "http://h0/"


async def test_nothing_but_lines_is_sent_to_a_dumb_terminal() -> None:
    with ConsoleUser(40, 25) as person:
        task = asyncio.create_task(operator(person, dumb=True).ask(REPORT))
        for prompt, line in (("", "u"), ("URL", "x"), ("URL", ""), (CHOICE, "j"), ("Page", "")):
            await person.answer(prompt, line)
        await person.answer(CHOICE, "r")
        assert await task == Answer(MenuAction.RETRY)
        assert "\x1b" not in person.shown


async def test_lines_for_all_consoles_fit_the_narrowest() -> None:
    with ConsoleUser(40, 25) as narrow, ConsoleUser(120, 50) as wide:
        assert Terminals([narrow.terminal, wide.terminal]).columns() == 39
        assert Terminals([wide.terminal]).columns() == 119
    assert Terminals([]).columns() == 79
