"""The terminals a person may sit at: every console the kernel uses, written and read together."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

ACTIVE: Final = Path("/sys/class/tty/console/active")
"""The consoles of the kernel command line that exist on this machine, by name."""
MAX_LINE: Final = 2048
ENTER: Final = b"\r\n"


class Terminals:
    """Writes to all of them, and reads a line from whichever has one first."""

    def __init__(self, *, readers: Sequence[int], writers: Sequence[int]) -> None:
        self._readers = list(readers)
        self._writers = list(writers)

    @classmethod
    def consoles(cls, active: Path = ACTIVE) -> Terminals:
        """Open the kernel's consoles; one that cannot be opened is left out."""
        opened = list(_opened(active.read_text().split() if active.exists() else []))
        return cls(readers=opened, writers=opened)

    def write(self, text: str) -> None:
        """Show ``text`` everywhere; a terminal that fails is not asked again."""
        for terminal in tuple(self._writers):
            try:
                left = memoryview(text.encode())
                while left:
                    left = left[os.write(terminal, left) :]
            except BlockingIOError:
                continue
            except OSError:
                self._writers.remove(terminal)

    async def line(self) -> str:
        """Return the next line that is typed, without its end; wait for ever if need be."""
        loop = asyncio.get_running_loop()
        typed: asyncio.Future[str] = loop.create_future()
        for terminal in self._readers:
            # A file or a closed descriptor cannot be waited for: nobody types there.
            with contextlib.suppress(OSError):
                loop.add_reader(terminal, self._take, terminal, typed)
        try:
            return await typed
        finally:
            for terminal in self._readers:
                loop.remove_reader(terminal)

    def _take(self, terminal: int, typed: asyncio.Future[str]) -> None:
        try:
            data = os.read(terminal, MAX_LINE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(terminal)
            self._readers.remove(terminal)
        elif not typed.done():
            typed.set_result(data.rstrip(ENTER).decode("utf-8", "replace"))


def _opened(names: Iterable[str]) -> Iterable[int]:
    for name in names:
        with contextlib.suppress(OSError):
            yield os.open(f"/dev/{name}", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
