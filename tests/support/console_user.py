"""The user of a console: a pseudo-terminal and the screen of a VT100."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyte

from phase_boot.adapters.terminal.terminals import Terminal

PATIENCE: Final = 30.0
"""Timeout in seconds for output; generous, since the machine may be under load."""
REOPEN_SECONDS: Final = 0.01


class ConsoleUser:
    """The user's end of a terminal line; `terminal` is the other end."""

    def __init__(self, columns: int = 0, rows: int = 0) -> None:
        """Zero columns and rows mean an unknown size, as on a serial line."""
        self._line, side = os.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.path = Path(os.ttyname(side))
        self.terminal = Terminal.console(self.path)
        os.close(side)
        self._screen = pyte.Screen(columns or 80, rows or 25)
        # The line discipline (`onlcr`) adds the carriage return to a newline.
        self._stream = pyte.ByteStream(self._screen)
        self.shown = ""
        self._read = 0
        self._seen = asyncio.Event()

    def __enter__(self) -> Self:
        os.set_blocking(self._line, False)
        asyncio.get_running_loop().add_reader(self._line, self._look)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hang_up()
        with contextlib.suppress(OSError):
            os.close(self.terminal.reader)

    def hang_up(self) -> None:
        if self._line >= 0:
            asyncio.get_running_loop().remove_reader(self._line)
            os.close(self._line)
            self._line = -1

    def type(self, text: str | bytes) -> None:
        os.write(self._line, text if isinstance(text, bytes) else text.encode())

    async def pour(self, noise: bytes, listener: asyncio.Task[Any]) -> None:
        """Send ``noise`` as fast as ``listener`` reads it, until ``listener`` is done."""
        left = memoryview(noise)
        while left and not listener.done():
            try:
                left = left[os.write(self._line, left[:1000]) :]
            except BlockingIOError:
                await self._wait_until_read(listener)
            await asyncio.sleep(0.001)
        await self._wait_until_read(listener)

    def resize(self, columns: int, rows: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._line, termios.TIOCSWINSZ, size)
        self._screen.resize(rows, columns)

    async def see(self, text: str) -> None:
        """Wait until ``text`` is shown after the last awaited text."""
        async with asyncio.timeout(PATIENCE):
            while (found := self.shown.find(text, self._read)) < 0:
                self._seen.clear()
                try:
                    await self._seen.wait()
                except asyncio.CancelledError:
                    print(f"waited for {text!r} and saw {self.shown[self._read :]!r}")  # noqa: T201
                    raise
        self._read = found + len(text)

    async def answer(self, prompt: str, line: str) -> None:
        """Wait for ``prompt``, then type ``line`` and Enter."""
        await self.see(prompt)
        self.type(f"{line}\r")

    async def _wait_until_read(self, listener: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE
        while not listener.done() and self._unread():
            assert loop.time() < give_up, "the console does not read"
            await asyncio.sleep(0.001)

    def _unread(self) -> bool:
        empty = b"\0" * 4
        return fcntl.ioctl(self.terminal.reader, termios.FIONREAD, empty) != empty

    @property
    def screen(self) -> list[str]:
        """The rows on the screen."""
        return [row.rstrip() for row in self._screen.display]

    @property
    def modes(self) -> int:
        """The local modes of the line, such as ECHO and ICANON."""
        modes = termios.tcgetattr(self.terminal.reader)[3]
        return int(modes)

    @property
    def is_raw(self) -> bool:
        return not self.modes & termios.ECHO or not self.modes & termios.ICANON

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            seen = os.read(self._line, 65_536)
        except BlockingIOError:
            return
        except OSError:
            # No process has the other end open at this moment.
            loop.remove_reader(self._line)
            loop.call_later(REOPEN_SECONDS, self._look_again)
            return
        self._stream.feed(seen)
        self.shown += seen.decode(errors="replace")
        self._seen.set()

    def _look_again(self) -> None:
        if self._line >= 0:
            asyncio.get_running_loop().add_reader(self._line, self._look)
