"""The lines of a journal that are kept in memory: the first attempt at a boot, and the newest ones.

A machine that waits for weeks makes thousands of attempts. Each ends where the next begins, in
Init, so that whole attempts can be left out and `replay` still walks what is kept.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import Final

from phase_boot.journal.run_events import JournalCut

MAX_LINES: Final = 6000
"""Lines that are kept, unless one attempt alone has more."""


class RetainedLines:
    """Lines by attempt; the first attempt is always kept."""

    def __init__(self, earlier: Sequence[str], *, boot_id: str, limit: int = MAX_LINES) -> None:
        """Begin after the lines of a run that this one continues."""
        self._first = list(earlier)
        self._later: deque[list[str]] = deque()
        self._boot_id = boot_id
        self._limit = limit
        self._count = len(self._first)
        self._cut_seq, self._cut_at = 0, 0.0
        self._cut = 0
        self._seq, self._at = 0, 0.0

    def add(self, line: str, *, seq: int, at: float) -> None:
        """Keep a line, and leave out the oldest attempts but the first where there are too many."""
        (self._later[-1] if self._later else self._first).append(line)
        self._seq, self._at = seq, at
        self._count += 1
        while self._count > self._limit and len(self._later) > 1:
            gone = len(self._later.popleft())
            self._cut += gone
            self._count -= gone

    def next_attempt(self) -> None:
        """The next line belongs to a new attempt."""
        if not self._later:
            self._cut_seq, self._cut_at = self._seq + 1, self._at
        self._later.append([])

    def holds(self, seq: int) -> bool:
        """Say whether the line of that number is kept."""
        return not self._cut_seq <= seq < self._cut_seq + self._cut

    @property
    def lines(self) -> tuple[str, ...]:
        """What is kept, with one line for what is not."""
        lines = list(self._first)
        if self._cut:
            lines.append(self._cut_line())
        for each in self._later:
            lines += each
        return tuple(lines)

    def _cut_line(self) -> str:
        stamps = {"boot_id": self._boot_id, "seq": self._cut_seq, "at": self._cut_at}
        return json.dumps({**stamps, "lines": self._cut, "event": JournalCut.event})
