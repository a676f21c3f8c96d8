"""A person at a terminal: through a real pty, as at a serial line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from phase_boot.adapters.console_operator import ConsoleOperator, NobodyThere
from phase_boot.adapters.terminals import Terminals
from phase_boot.ports.operator import Answer, Report, Wish

REPORT = Report(
    cause="nothing\x1b[31m offers stable here, " + "however long one looks, " * 9,
    way_out="Retry, type a URL, reboot or power off.",
    refusals=("http://a: \x07expired",),
)


class Pty:
    def __init__(self) -> None:
        self.person, self.side = os.openpty()
        os.set_blocking(self.side, False)
        os.set_blocking(self.person, False)

    def type(self, text: str) -> None:
        os.write(self.person, text.encode())

    def screen(self) -> str:
        try:
            return os.read(self.person, 65_536).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
async def pty() -> AsyncIterator[Pty]:
    pair = Pty()
    yield pair
    os.close(pair.person)
    os.close(pair.side)


def operator(*ptys: Pty) -> ConsoleOperator:
    sides = [pair.side for pair in ptys]
    return ConsoleOperator(Terminals(readers=sides, writers=sides))


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("r\n", Answer(Wish.RETRY)),
        ("R\n", Answer(Wish.RETRY)),
        ("b\n", Answer(Wish.REBOOT)),
        ("o\n", Answer(Wish.POWER_OFF)),
        ("what?\n\nboot anyway\nr\n", Answer(Wish.RETRY)),
        ("u\nhttp://10.0.0.1/m.json\n", Answer(Wish.URL, "http://10.0.0.1/m.json")),
        ("u\nfile:///etc/passwd\nr\n", Answer(Wish.RETRY)),
    ],
)
async def test_a_letter_is_a_wish(pty: Pty, typed: str, answer: Answer) -> None:
    asking = asyncio.create_task(operator(pty).ask(REPORT))
    for line in typed.splitlines(keepends=True):
        await asyncio.sleep(0.01)
        pty.type(line)
    assert await asking == answer


async def test_the_cause_and_the_refusals_are_shown_escaped(pty: Pty) -> None:
    asking = asyncio.create_task(operator(pty).ask(REPORT))
    await asyncio.sleep(0.01)
    screen = pty.screen()
    assert "Phase Boot stopped: nothing\\x1b[31m offers stable here, however" in screen
    assert "http://a: \\x07expired" in screen
    assert "\x1b" not in screen
    assert max(len(line) for line in screen.splitlines()) < 80
    assert "anyway" not in screen
    pty.type("r\n")
    await asking


async def test_every_console_is_written_and_any_may_answer(pty: Pty) -> None:
    other = Pty()
    asking = asyncio.create_task(operator(pty, other).ask(REPORT))
    await asyncio.sleep(0.01)
    assert "stopped" in pty.screen()
    assert "stopped" in other.screen()
    other.type("o\n")
    assert await asking == Answer(Wish.POWER_OFF)


async def test_a_console_that_goes_away_leaves_the_others(pty: Pty) -> None:
    gone = Pty()
    asking = asyncio.create_task(operator(gone, pty).ask(REPORT))
    await asyncio.sleep(0.01)
    os.close(gone.person)
    await asyncio.sleep(0.01)
    pty.type("r\n")
    assert await asking == Answer(Wish.RETRY)


async def test_where_nobody_is_the_cause_is_told_and_the_run_ends() -> None:
    told: list[str] = []
    assert await NobodyThere(told.append).ask(REPORT) == Answer(Wish.QUIT)
    assert "offers stable here" in told[0]
