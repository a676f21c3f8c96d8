"""Asks at all consoles at once: each shows the same text, and the first complete answer counts."""

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
DRY_RUN_ACTIONS: Final = frozenset(
    {MenuAction.RETRY, MenuAction.CANDIDATE, MenuAction.URL, MenuAction.QUIT}
)
"""Actions of a dry run, which must not change or switch off the desktop that it runs on."""
SEED_ACTIONS: Final = frozenset(MenuAction) - {MenuAction.QUIT}
PAUSE_SECONDS: Final = 2.0
"""Pause before the consoles are opened again after all of them hung up."""


class ConsoleOperator:
    """Implements `ports.operator.Operator` on every terminal at the same time."""

    def __init__(
        self,
        terminals: Terminals,
        *,
        dry_run: bool = False,
        dumb: bool = False,
        start: float = 0.0,
    ) -> None:
        """Ask on ``terminals``.

        Args:
            terminals: the consoles.
            dry_run: whether this is a dry run on a desktop, not the seed.
            dumb: whether the terminals cannot move the cursor.
            start: the time that displayed seconds count from.
        """
        editor = LazyImport(EDITOR)
        self._countdown = Countdown()
        self._sessions = [
            ConsoleSession(terminal, editor, dumb=dumb, countdown=self._countdown)
            for terminal in terminals
        ]
        self._gone: set[ConsoleSession] = set()
        self._heard: ConsoleSession | None = None
        self._dry_run = dry_run
        self._start = start

    async def ask(self, report: Report) -> Answer:
        """Show the report and the menu until one answer is complete."""
        known = DRY_RUN_ACTIONS if self._dry_run else SEED_ACTIONS
        self._countdown.start(report.retry_in)
        shown = replace(report, actions=tuple(w for w in report.actions if w in known))
        answer = await self._first(lambda session: menu.run_menu(session, shown, start=self._start))
        return answer or Answer(MenuAction.QUIT)

    async def touched(self) -> None:
        """Wait until a key is pressed at any terminal."""
        await self._countdown.touched()

    async def choose(self, options: Sequence[CandidateOption]) -> str | None:
        """Show the candidates until one or none of them is chosen."""
        return await self._first(lambda session: menu.choose_candidate(session, options))

    async def perform(self, action: MenuAction) -> None:
        """Let systemd reboot or power off, or open a root shell at the asking terminal."""
        if command := COMMANDS.get(action):
            process = await asyncio.create_subprocess_exec(*command)
            await process.wait()
        elif action is MenuAction.ROOT_SHELL and self._heard is not None:
            await self._open_shell(self._heard)

    async def _first(self, talk: Callable[[ConsoleSession], Coroutine[Any, Any, T]]) -> T | None:
        """Run ``talk`` in each session at once; return the result of the first one that ends.

        Return None if all terminals of a desktop are closed. In the seed they are opened again.
        """
        while True:
            self._gone = {session for session in self._gone if not session.terminal.reopen()}
            here = [session for session in self._sessions if session not in self._gone]
            talks = {asyncio.create_task(talk(session)): session for session in here}
            try:
                while talks:
                    done, _ = await asyncio.wait(talks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        session = talks.pop(task)
                        if not isinstance(task.exception(), TerminalClosed):
                            self._heard = session
                            await _ended(talks)
                            self._tell(talks.values())
                            return task.result()
                        self._gone.add(session)
            finally:
                await _ended(talks)
            if self._dry_run:
                return None
            await asyncio.sleep(PAUSE_SECONDS)

    def _tell(self, others: Iterable[ConsoleSession]) -> None:
        for session in others:
            if self._heard is not None:
                session.say("", f"Answered at {printable(self._heard.terminal.name)}.")

    async def _open_shell(self, session: ConsoleSession) -> None:
        """Lend the terminal to the shell until it ends, or another terminal ends it."""
        if session.terminal.path is None:
            session.say("This terminal cannot run a shell; use another console.")
            return
        session.say("", "This shell can boot unverified systems. `exit` returns to the menu.")
        others = [other for other in self._sessions if other not in {session, *self._gone}]
        tasks = [asyncio.create_task(root_shell.run(session.terminal.path))]
        tasks += [asyncio.create_task(_interruption(other, session)) for other in others]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(tasks)
            # The kernel hangs up a terminal when the session that controlled it ends.
            if not session.terminal.reopen():
                self._gone.add(session)


class NoOperator:
    """Implements `ports.operator.Operator` without a terminal."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    async def ask(self, report: Report) -> Answer:
        """Print the cause; quit, unless automatic retries are on."""
        self._write(f"Phase Boot stopped: {printable(report.cause)}.\n")
        if report.retry_in is not None:
            await asyncio.Event().wait()
        return Answer(MenuAction.QUIT)

    async def touched(self) -> None:
        """Wait for ever: there is no keyboard."""
        await asyncio.Event().wait()

    async def choose(self, options: Sequence[CandidateOption]) -> str | None:
        """Choose none."""

    async def perform(self, action: MenuAction) -> None:
        """Do nothing: no action was chosen."""


async def _interruption(session: ConsoleSession, busy: ConsoleSession) -> None:
    """Wait until Enter is pressed in ``session``."""
    try:
        await session.ask(
            f"A root shell is open at {printable(busy.terminal.name)}; Enter ends it. "
        )
    except InputCancelled:
        return
    except TerminalClosed:
        await asyncio.Event().wait()


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel ``tasks`` and wait until each has restored its terminal's modes."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
