"""The countdown to an automatic retry, shown before a prompt until a key is pressed."""

from __future__ import annotations

import asyncio
import math
from typing import Final

WIDE: Final = 72
"""Columns from which the long form fits before a prompt and the typed text."""
LONG_SECONDS: Final = 1000
"""The countdown shows minutes from this number of seconds upwards."""
REFRESH_SECONDS: Final = 1.0


class Countdown:
    """The countdown that all terminals share: a key at any of them stops it."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._touched = asyncio.Event()

    def start(self, seconds: float | None) -> None:
        """Start the countdown; None shows none."""
        self._touched.clear()
        self._due = None
        if seconds is not None:
            self._due = asyncio.get_running_loop().time() + seconds

    def touch(self) -> None:
        """Stop: a key was pressed."""
        self._due = None
        self._touched.set()

    async def touched(self) -> None:
        """Wait until a key is pressed after the start."""
        await self._touched.wait()

    @property
    def running(self) -> bool:
        """Whether the countdown is shown."""
        return self._due is not None

    def before(self, prompt: str, columns: int) -> str:
        """Return ``prompt`` with the countdown before it, in constant width."""
        if self._due is None:
            return prompt
        if columns < WIDE:
            return f"(again in {self._left():>6}) {prompt}"
        return f"Tries again in {self._left():>6}; press a key to stay here. {prompt}"

    def line(self) -> str:
        """Return the sentence for a dumb terminal, which sends whole lines."""
        return f"Tries again in {self._left()}; press Enter to stay here."

    def _left(self) -> str:
        left = 0.0 if self._due is None else self._due - asyncio.get_running_loop().time()
        seconds = max(0, math.ceil(left))
        return f"{seconds} s" if seconds < LONG_SECONDS else f"{math.ceil(seconds / 60)} min"
