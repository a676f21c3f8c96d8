"""Bounds the journal in memory: it keeps the first attempt to boot and the newest ones.

A machine that waits for weeks makes thousands of attempts. Each ends where the next begins, in
Init, so whole attempts can be left out and `replay` still accepts the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from phase_boot.journal.record import Record
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

    def add(self, record: Record) -> None:
        """Keep the line of a record; over the limit, drop the oldest attempts except the first."""
        (self._later[-1] if self._later else self._first).append(record.line)
        self._seq, self._at = record.seq, record.at
        self._count += 1
        while self._count > self._limit and len(self._later) > 1:
            dropped = len(self._later.popleft())
            self._cut += dropped
            self._count -= dropped

    def next_attempt(self) -> None:
        """Assign all following lines to a new attempt."""
        if not self._later:
            self._cut_seq, self._cut_at = self._seq + 1, self._at
        self._later.append([])

    def holds(self, seq: int) -> bool:
        """Return whether the line with the number ``seq`` is kept."""
        return not self._cut_seq <= seq < self._cut_seq + self._cut

    @property
    def lines(self) -> tuple[str, ...]:
        """All kept lines, with one `journal.cut` in place of the dropped ones."""
        lines = list(self._first)
        if self._cut:
            lines.append(self._cut_line())
        for attempt in self._later:
            lines += attempt
        return tuple(lines)

    def _cut_line(self) -> str:
        event = JournalCut(lines=self._cut)
        return Record(event=event, boot_id=self._boot_id, seq=self._cut_seq, at=self._cut_at).line
