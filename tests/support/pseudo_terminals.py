"""A terminal for tests that no test has to read from."""

from __future__ import annotations

import os
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


class Screen:
    """What a terminal got up to now."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._got = b""

    @property
    def text(self) -> str:
        return self._got.decode()

    def read(self) -> None:
        """Read until nobody has the terminal open."""
        with suppress(OSError):
            while piece := os.read(self._descriptor, 1 << 16):
                self._got += piece


@contextmanager
def pseudo_terminal(columns: int) -> Iterator[tuple[TextIO, Screen]]:
    """Yield a terminal of so many columns to write to, and its screen, complete after the end."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    screen = Screen(ours)
    # It holds 4 KiB, and a writer waits for more room.
    reader = threading.Thread(target=screen.read)
    reader.start()
    try:
        with os.fdopen(theirs, "w", buffering=1) as stream:
            yield stream, screen
    finally:
        reader.join()
        os.close(ours)
