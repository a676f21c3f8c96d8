"""People at consoles: each is shown the same, and whoever answers first is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, TypeVar

from phase_boot.adapters.system.lazy_import import LazyImport
from phase_boot.adapters.terminal import menu, root_shell
from phase_boot.adapters.terminal.console_session import EDITOR, ConsoleSession
from phase_boot.adapters.terminal.countdown import Countdown
from phase_boot.adapters.terminal.terminals import InputCancelled, TerminalClosed, Terminals
from phase_boot.console.lines import printable
from phase_boot.ports.operator import Answer, CandidateOption, MenuAction, Report

T = TypeVar("T")

COMMANDS: Final[Mapping[MenuAction, tuple[str, ...]]] = MappingProxyType(
    {MenuAction.REBOOT: ("systemctl", "reboot"), MenuAction.POWER_OFF: ("systemctl", "poweroff")}
)
AT_DESK: Final = frozenset(
    {MenuAction.RETRY, MenuAction.CANDIDATE, MenuAction.URL, MenuAction.QUIT}
)
"""What is offered in a dry run: the desktop it runs on is not ours to change or switch off."""
IN_SEED: Final = frozenset(MenuAction) - {MenuAction.QUIT}
PAUSE_SECONDS: Final = 2.0
"""Until consoles that all hung up are opened again."""


class ConsoleOperator:
    """Implements `ports.operator.Operator` on every terminal at the same time."""

    def __init__(
        self,
        terminals: Terminals,
        *,
        at_desk: bool = False,
        dumb: bool = False,
        start: float = 0.0,
    ) -> None:
        """Ask on ``terminals``.

        Args:
            terminals: where people may sit.
            at_desk: whether this is somebody's desktop, not the seed.
            dumb: whether the terminals show lines and nothing else.
            start: times are shown as seconds since then.
        """
        editor = LazyImport(EDITOR)
        self._countdown = Countdown()
        self._seats = [
            ConsoleSession(terminal, editor, dumb=dumb, countdown=self._countdown)
            for terminal in terminals
        ]
        self._gone: set[ConsoleSession] = set()
        self._heard: ConsoleSession | None = None
        self._at_desk = at_desk
        self._start = start

    async def ask(self, report: Report) -> Answer:
        """Show the report and the menu until somebody's wish is complete."""
        known = AT_DESK if self._at_desk else IN_SEED
        self._countdown.start(report.retry_in)
        shown = replace(report, offers=tuple(w for w in report.offers if w in known))
        answer = await self._first(lambda seat: menu.run_menu(seat, shown, start=self._start))
        return answer or Answer(MenuAction.QUIT)

    async def touched(self) -> None:
        """Return when a key was pressed at any terminal."""
        await self._countdown.touched()

    async def choose(self, offers: Sequence[CandidateOption]) -> str | None:
        """Show the offers until somebody chose, or chose none."""
        return await self._first(lambda seat: menu.choose_candidate(seat, offers))

    async def perform(self, wish: MenuAction) -> None:
        """Ask systemd to reboot or power off; open a shell where it was asked for."""
        if command := COMMANDS.get(wish):
            process = await asyncio.create_subprocess_exec(*command)
            await process.wait()
        elif wish is MenuAction.ROOT_SHELL and self._heard is not None:
            await self._open_shell(self._heard)

    async def _first(self, talk: Callable[[ConsoleSession], Coroutine[Any, Any, T]]) -> T | None:
        """Have the same talk at every seat; return what the first one comes to.

        None says that nobody is left at a desk. In the seed, somebody may come back.
        """
        while True:
            self._gone = {seat for seat in self._gone if not seat.terminal.reopen()}
            here = [seat for seat in self._seats if seat not in self._gone]
            talks = {asyncio.create_task(talk(seat)): seat for seat in here}
            try:
                while talks:
                    done, _ = await asyncio.wait(talks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        seat = talks.pop(task)
                        if not isinstance(task.exception(), TerminalClosed):
                            self._heard = seat
                            await _ended(talks)
                            self._tell(talks.values())
                            return task.result()
                        self._gone.add(seat)
            finally:
                await _ended(talks)
            if self._at_desk:
                return None
            await asyncio.sleep(PAUSE_SECONDS)

    def _tell(self, others: Iterable[ConsoleSession]) -> None:
        for seat in others:
            if self._heard is not None:
                seat.say("", f"Answered at {printable(self._heard.terminal.name)}.")

    async def _open_shell(self, seat: ConsoleSession) -> None:
        """Give the terminal away until the shell ends, or somebody elsewhere ends it."""
        if seat.terminal.path is None:
            seat.say("There is no terminal of its own for a shell here.")
            return
        seat.say("", "Whoever types here now can boot anything. `exit` comes back.")
        others = [other for other in self._seats if other not in {seat, *self._gone}]
        tasks = [asyncio.create_task(root_shell.run(seat.terminal.path))]
        tasks += [asyncio.create_task(_interruption(other, seat)) for other in others]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(tasks)
            # The kernel hangs a terminal up when the session that had it ends.
            if not seat.terminal.reopen():
                self._gone.add(seat)


class NoOperator:
    """Implements `ports.operator.Operator` without a terminal."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    async def ask(self, report: Report) -> Answer:
        """Print the cause; quit, unless the machine tries again by itself."""
        self._write(f"Phase Boot stopped: {printable(report.cause)}.\n")
        if report.retry_in is not None:
            await asyncio.Event().wait()
        return Answer(MenuAction.QUIT)

    async def touched(self) -> None:
        """There is no key to press."""
        await asyncio.Event().wait()

    async def choose(self, offers: Sequence[CandidateOption]) -> str | None:
        """Choose none."""

    async def perform(self, wish: MenuAction) -> None:
        """There is nothing to carry out."""


async def _interruption(seat: ConsoleSession, busy: ConsoleSession) -> None:
    """Return when somebody at ``seat`` wants the menu back."""
    try:
        await seat.ask(f"A root shell is open at {printable(busy.terminal.name)}; Enter ends it. ")
    except InputCancelled:
        return
    except TerminalClosed:
        await asyncio.Event().wait()


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` and wait until each has put its terminal right."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
