"""A pseudo-terminal whose output is read in the background."""

from __future__ import annotations

import os
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO


class Screen:
    """The output so far."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._got = b""

    @property
    def text(self) -> str:
        return self._got.decode()

    def read(self) -> None:
        """Read until the terminal is closed everywhere."""
        with suppress(OSError):
            while piece := os.read(self._descriptor, 1 << 16):
                self._got += piece


@contextmanager
def pseudo_terminal(columns: int) -> Iterator[tuple[TextIO, Screen]]:
    """Yield a terminal of that many columns, and its output, which is complete after the block."""
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
