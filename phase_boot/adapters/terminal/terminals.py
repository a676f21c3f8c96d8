"""All consoles that the kernel uses: written together, read concurrently."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import termios
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

ACTIVE: Final = Path("/sys/class/tty/console/active")
"""Lists the active consoles of the kernel command line by name."""
MAX_LINE: Final = 2048
MAX_WAITING: Final = 64 * 1024
"""Bytes queued for a terminal that accepts none; text beyond them is dropped there."""
SMALLEST: Final = (40, 10)
USUAL: Final = (80, 25)
"""Columns and rows of a terminal that reports no size, such as a serial line."""
LARGEST: Final = (200, 100)
CONSOLE_FLAGS: Final = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC


class TerminalClosed(Exception):
    """The terminal is gone: no input will follow."""


class InputCancelled(Exception):
    """The question was cancelled by Ctrl-C or Ctrl-D."""


class Terminal:
    """One terminal; writes never block."""

    def __init__(self, *, reader: int, writer: int, name: str, path: Path | None = None) -> None:
        """Read from one descriptor and write to another or the same.

        One with a ``path`` can be opened again.
        """
        self.reader = reader
        self.name = name
        self.path = path
        self._writer = writer
        self._waiting = bytearray()

    @classmethod
    def console(cls, path: Path) -> Terminal:
        """Open a console; raise OSError if that fails."""
        descriptor = os.open(path, CONSOLE_FLAGS)
        reset_modes(descriptor)
        return cls(reader=descriptor, writer=descriptor, name=path.name, path=path)

    def write(self, text: str) -> None:
        """Queue ``text`` and write what the terminal accepts; a failed terminal drops it."""
        room = MAX_WAITING - len(self._waiting)
        self._waiting += text.encode("utf-8", "replace")[:room]
        self._drain()

    def reopen(self) -> bool:
        """Open the terminal again, as after a shell used it; return whether that succeeded."""
        if self.path is None:
            return False
        try:
            descriptor = os.open(self.path, CONSOLE_FLAGS)
        except OSError:
            return False
        self._forget_waiting()
        for old in {self.reader, self._writer}:
            with contextlib.suppress(OSError):
                os.close(old)
        self.reader = self._writer = descriptor
        reset_modes(descriptor)
        return True

    def size(self) -> tuple[int, int]:
        """Return columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self._writer)
        except OSError:
            columns, rows = 0, 0
        if not columns or not rows:
            columns, rows = USUAL
        least, most = SMALLEST, LARGEST
        return min(max(columns, least[0]), most[0]), min(max(rows, least[1]), most[1])

    def hung_up(self) -> bool:
        """Return whether an empty read means that the line hung up, not that Ctrl-D was typed."""
        poll = select.poll()
        try:
            poll.register(self.reader, 0)
            gone = any(flags & (select.POLLHUP | select.POLLNVAL) for _, flags in poll.poll(0))
        except OSError:
            return True
        return gone or not os.isatty(self.reader)

    async def line(self) -> str:
        """Return the next line without its end; there is no timeout.

        Raises:
            TerminalClosed: the terminal is gone.
            InputCancelled: Ctrl-D was typed.
        """
        loop = asyncio.get_running_loop()
        typed: asyncio.Future[str] = loop.create_future()
        try:
            loop.add_reader(self.reader, self._take, typed)
        except OSError as error:
            # A file or a closed descriptor cannot be polled, and has no keyboard.
            raise TerminalClosed from error
        try:
            return await typed
        finally:
            loop.remove_reader(self.reader)

    def _take(self, typed: asyncio.Future[str]) -> None:
        if typed.done():
            return
        try:
            data = os.read(self.reader, MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            typed.set_result(data.partition(b"\n")[0].rstrip(b"\r").decode("ascii", "replace"))
        else:
            typed.set_exception(TerminalClosed() if self.hung_up() else InputCancelled())

    def _drain(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: os.write(self._writer, self._waiting)]
        except BlockingIOError:
            with contextlib.suppress(RuntimeError, OSError):
                asyncio.get_running_loop().add_writer(self._writer, self._drain)
            return
        except OSError:
            pass
        self._forget_waiting()

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        with contextlib.suppress(RuntimeError, OSError):
            asyncio.get_running_loop().remove_writer(self._writer)


class Terminals:
    """All consoles: text is written to each."""

    def __init__(self, terminals: Sequence[Terminal]) -> None:
        self._terminals = tuple(terminals)

    @classmethod
    def consoles(cls, active: Path = ACTIVE, devices: Path = Path("/dev")) -> Terminals:
        """Open the kernel's consoles; skip those that cannot be opened."""
        names = active.read_text().split() if active.exists() else []
        return cls(list(_opened(devices / name for name in names)))

    def __iter__(self) -> Iterator[Terminal]:
        return iter(self._terminals)

    def columns(self) -> int:
        """Return the smallest number of columns among them."""
        return min((terminal.size()[0] for terminal in self._terminals), default=USUAL[0]) - 1

    def write(self, text: str) -> None:
        """Write ``text`` to each."""
        for terminal in self._terminals:
            terminal.write(text)


def reset_modes(descriptor: int) -> None:
    """Set a terminal to echo and line mode, whatever state a program left it in."""
    with contextlib.suppress(termios.error):
        modes = termios.tcgetattr(descriptor)
        modes[0] |= termios.ICRNL
        modes[1] |= termios.OPOST | termios.ONLCR
        modes[3] |= termios.ICANON | termios.ECHO | termios.ECHOE | termios.ISIG
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)


def _opened(paths: Iterable[Path]) -> Iterator[Terminal]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield Terminal.console(path)
