"""One terminal's session: shows lines and reads lines, edited where the terminal allows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from phase_boot.adapters.system.lazy_import import LazyImport
from phase_boot.adapters.terminal.countdown import REFRESH_SECONDS, Countdown
from phase_boot.adapters.terminal.terminals import InputCancelled, Terminal, TerminalClosed
from phase_boot.console.screen import fitted, plain

EDITOR: Final = "phase_boot.adapters.terminal.line_editor"
ROOM: Final = 8
"""Columns that a prompt leaves for typing, at least."""
SHORT: Final = "> "


class ConsoleSession:
    """Shows text on one terminal and reads answers from it."""

    def __init__(
        self,
        terminal: Terminal,
        editor: LazyImport,
        *,
        dumb: bool = False,
        countdown: Countdown | None = None,
    ) -> None:
        """Use ``terminal``; a ``dumb`` one gets plain lines and no escape sequences.

        A key that is pressed stops ``countdown``.
        """
        self.terminal = terminal
        self._editor = editor
        self._countdown = countdown or Countdown()
        self._dumb = dumb

    @property
    def columns(self) -> int:
        """Columns of the terminal now."""
        return self.terminal.size()[0]

    @property
    def rows(self) -> int:
        """Rows of the terminal now."""
        return self.terminal.size()[1]

    def say(self, *lines: str) -> None:
        """Show ``text``, folded to the width; foreign text in it must be escaped already."""
        shown = [part for line in lines for part in fitted(line, self.columns - 1)]
        self.terminal.write("".join(f"{line}\n" for line in shown))

    async def ask(self, prompt: str) -> str:
        """Read one line and return it without surrounding blanks.

        A ``prompt`` that leaves fewer than `ROOM` columns stands on lines of its own.

        Raises:
            TerminalClosed: the terminal is gone.
            InputCancelled: Ctrl-C or Ctrl-D was typed.
        """
        if len(prompt) + ROOM > self.columns:
            self.say(prompt.rstrip())
            prompt = SHORT
        if not self._dumb:
            try:
                return plain(await self._edited(prompt)).strip()
            except (TerminalClosed, InputCancelled):
                raise
            except Exception as error:  # noqa: BLE001 - a person is asked, whatever else fails
                self._dumb = True
                self.say("", plain(f"Lines cannot be edited here ({type(error).__name__})."))
        if self._countdown.running:
            self.say(self._countdown.line())
        self.terminal.write(prompt)
        try:
            typed = await self.terminal.line()
        except InputCancelled:
            self._countdown.touch()
            raise
        self._countdown.touch()
        return plain(typed).strip()

    async def _edited(self, prompt: str) -> str:
        await self._editor.ready()
        from phase_boot.adapters.terminal.line_editor import edited_line  # noqa: PLC0415 - see LazyImport

        return await edited_line(
            self.terminal,
            lambda: self._countdown.before(prompt, self.columns),
            pressed=self._countdown.touch,
            refresh=REFRESH_SECONDS if self._countdown.running else None,
        )

    async def choice(self, prompt: str, letters: Iterable[str]) -> str:
        """Ask until one of ``letters`` is typed, and return it; raises as `ask` does."""
        allowed = "".join(letters)
        while True:
            typed = (await self.ask(prompt)).lower()
            if len(typed) <= 1 and typed in allowed:
                return typed
            self.say(plain(f"Type one of {' '.join(allowed)} and Enter."))
