"""A person at a console: the cause, the way out, and a prompt that takes one letter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from types import MappingProxyType
from typing import Final

from phase_boot.adapters.terminals import Terminals
from phase_boot.console.lines import COLUMNS, printable
from phase_boot.ports.operator import Answer, Offer, Report, Wish

MENU: Final = "  [r] retry   [u] type the URL of a manifest   [b] reboot   [o] power off\n"
LETTERS: Final[Mapping[str, Wish]] = MappingProxyType(
    {"r": Wish.RETRY, "u": Wish.URL, "b": Wish.REBOOT, "o": Wish.POWER_OFF}
)
COMMANDS: Final[Mapping[Wish, tuple[str, ...]]] = MappingProxyType(
    {Wish.REBOOT: ("systemctl", "reboot"), Wish.POWER_OFF: ("systemctl", "poweroff")}
)
SHOWN_REFUSALS: Final = 5


class ConsoleOperator:
    """Implements `ports.operator.Operator` on a terminal."""

    def __init__(self, terminals: Terminals) -> None:
        self._terminals = terminals
        self._write = terminals.write

    async def ask(self, report: Report) -> Answer:
        """Show the report and the menu until a letter of it is typed."""
        self._show(report)
        while True:
            letter = (await self._line("> ")).lower()
            wish = LETTERS.get(letter)
            if wish is Wish.URL:
                url = await self._line("URL of a manifest.json: ")
                if url.startswith(("http://", "https://")):
                    return Answer(wish, url)
                self._write("A URL starts with http:// or https://.\n")
            elif wish is not None:
                return Answer(wish)
            self._write(MENU)

    async def choose(self, offers: Sequence[Offer]) -> str | None:
        """Choose none."""
        self._write(f"{len(offers)} candidates turned up.\n")
        return None

    async def obey(self, wish: Wish) -> None:
        """Ask systemd to reboot or power off."""
        if command := COMMANDS.get(wish):
            process = await asyncio.create_subprocess_exec(*command)
            await process.wait()

    def _show(self, report: Report) -> None:
        refusals = report.refusals[-SHOWN_REFUSALS:]
        told = (
            fill(f"Phase Boot stopped: {printable(report.cause).rstrip('.')}.", COLUMNS),
            *(fill(f"- {printable(said)}", COLUMNS, subsequent_indent="  ") for said in refusals),
            report.way_out,
        )
        self._write("\n" + "\n".join(told) + "\n" + MENU)

    async def _line(self, prompt: str) -> str:
        self._write(prompt)
        return (await self._terminals.line()).strip()


class NobodyThere:
    """Implements `ports.operator.Operator` where nobody can be asked."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    async def ask(self, report: Report) -> Answer:
        """Tell the cause and ask to quit."""
        self._write(f"Phase Boot stopped: {printable(report.cause)}.\n")
        return Answer(Wish.QUIT)

    async def choose(self, offers: Sequence[Offer]) -> str | None:
        """Choose none."""

    async def obey(self, wish: Wish) -> None:
        """There is nothing to carry out."""
