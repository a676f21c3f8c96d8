"""The user of a program at a pseudo-terminal: reads prompts and types."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

PATIENCE: Final = 60.0
"""Timeout in seconds of a conversation; generous, since the machine may be under load."""
PROGRAM: Final = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from phase_boot.cli.main import main
sys.exit(main())
"""


class TerminalUser:
    """Runs `phase-boot` in a terminal and collects its output."""

    def __init__(
        self,
        words: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        columns: int = 80,
    ) -> None:
        self._until = time.monotonic() + PATIENCE
        self._terminal, inner = pty.openpty()
        termios.tcsetwinsize(inner, (25, columns))
        self.shown = ""
        self._read = 0
        self._program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            env=environment,
        )
        os.close(inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._program.kill()
        self._program.wait()
        os.close(self._terminal)

    def answer(self, prompt: str, line: str) -> None:
        """Wait for ``prompt``, then type ``line`` and Enter."""
        self.wait(prompt)
        os.write(self._terminal, f"{line}\n".encode())

    def wait(self, prompt: str) -> None:
        """Wait until the program shows ``prompt`` after the last awaited text."""
        while (found := self.shown.find(prompt, self._read)) < 0:
            assert self._look(), f"waited for {prompt!r} and saw {self.shown!r}"
        self._read = found + len(prompt)

    def leave(self) -> int:
        """Wait until the program ends, and return its exit status."""
        while self._look():
            pass
        return self._program.wait(timeout=max(0.1, self._until - time.monotonic()))

    def _look(self) -> bool:
        left = self._until - time.monotonic()
        assert select.select([self._terminal], [], [], max(0.0, left))[0], f"hangs: {self.shown!r}"
        try:
            seen = os.read(self._terminal, 4096)
        except OSError:
            # So Linux says that the program has closed its side.
            return False
        self.shown += seen.decode(errors="replace")
        return bool(seen)
