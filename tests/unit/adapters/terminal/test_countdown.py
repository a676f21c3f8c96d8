"""The countdown before the Shell's prompt, at real pseudo-terminals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from phase_boot.adapters.terminal.console_operator import ConsoleOperator, NoOperator
from phase_boot.adapters.terminal.terminals import Terminals
from phase_boot.ports.operator import Answer, MenuAction, Report
from tests.support.console_user import ConsoleUser

REPORT = Report(
    cause="nothing offers stable here",
    way_out="Retry, type a URL, reboot or power off.",
    refusals=(),
    actions=(MenuAction.RETRY, MenuAction.POWER_OFF),
    retry_in=250.0,
)
CHOICE = "choice:"


def operator(*people: ConsoleUser, dumb: bool = False) -> ConsoleOperator:
    return ConsoleOperator(Terminals([person.terminal for person in people]), dumb=dumb)


@contextmanager
def asked(shell: ConsoleOperator, report: Report = REPORT) -> Iterator[asyncio.Task[Answer]]:
    task = asyncio.create_task(shell.ask(report))
    try:
        yield task
    finally:
        task.cancel()


async def untouched(shell: ConsoleOperator) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await shell.touched()
            return False
    return True


async def test_the_countdown_is_shown_and_runs() -> None:
    with ConsoleUser(80, 25) as person:
        shell = operator(person)
        with asked(shell):
            await person.see("Tries again in  250 s; press a key to stay here. Your choice:")
            await person.see("9")
            assert await untouched(shell)


async def test_any_key_stops_the_countdown_and_is_still_typed() -> None:
    with ConsoleUser(80, 25) as person:
        shell = operator(person)
        with asked(shell) as task:
            await person.see(CHOICE)
            person.type("r")
            await shell.touched()
            await person.see("Your choice: r")
            assert "Tries again" not in person.screen[-1]
            assert not task.done()
            person.type("\r")
            assert await task == Answer(MenuAction.RETRY)


async def test_a_key_at_one_terminal_stops_it_at_all() -> None:
    with ConsoleUser(80, 25) as person, ConsoleUser(80, 25) as other:
        shell = operator(person, other)
        with asked(shell):
            await person.see(CHOICE)
            await other.see(CHOICE)
            other.type("x")
            await shell.touched()
            # Its line is drawn anew, from the beginning.
            await person.see("Your choice:")


@pytest.mark.parametrize("noise", [b"\x00\xff\xfe\x80", b"\x1b[99;99R"])
async def test_noise_that_is_no_key_stops_nothing(noise: bytes) -> None:
    with ConsoleUser(80, 25) as person:
        shell = operator(person)
        with asked(shell):
            await person.see(CHOICE)
            person.type(noise)
            assert await untouched(shell)


async def test_a_line_that_hangs_up_stops_nothing() -> None:
    with ConsoleUser(80, 25) as person:
        shell = operator(person)
        with asked(shell):
            await person.see(CHOICE)
            person.hang_up()
            assert await untouched(shell)


async def test_a_narrow_terminal_has_room_for_an_answer() -> None:
    with ConsoleUser(40, 12) as person, asked(operator(person)):
        await person.see("(again in  250 s) Your choice:")


async def test_a_dumb_terminal_shows_the_countdown_once_and_enter_stops_it() -> None:
    with ConsoleUser(80, 25) as person:
        shell = operator(person, dumb=True)
        with asked(shell):
            await person.see("Tries again in 250 s; press Enter to stay here.")
            assert await untouched(shell)
            person.type("\n")
            await shell.touched()


async def test_the_terminal_is_as_it_was_when_the_next_attempt_starts() -> None:
    with ConsoleUser(80, 25) as person:
        shell = operator(person)
        with asked(shell) as task:
            await person.see(CHOICE)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not person.is_raw
            assert "Answered" not in person.shown


async def test_a_key_of_an_earlier_menu_does_not_count_for_the_next() -> None:
    with ConsoleUser(80, 25) as person:
        shell = operator(person)
        with asked(shell) as task:
            await person.answer(CHOICE, "r")
            await task
        with asked(shell):
            await asyncio.sleep(0)
            assert await untouched(shell)


async def test_long_pauses_are_shown_in_minutes() -> None:
    with ConsoleUser(80, 25) as person, asked(operator(person), replace(REPORT, retry_in=86_000.0)):
        await person.see("Tries again in 1434 min; press a key")


async def test_without_a_terminal_it_quits_unless_the_machine_tries_again() -> None:
    messages: list[str] = []
    nobody = NoOperator(messages.append)
    assert await nobody.ask(replace(REPORT, retry_in=None)) == Answer(MenuAction.QUIT)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await nobody.ask(REPORT)
    assert len(messages) == 2
