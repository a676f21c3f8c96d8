"""Facts that hold over many attempts, and when one of them is news.

Pure: an event stands for the fact, and its number in the journal for the line that has it.
"""

from __future__ import annotations

from collections.abc import Callable

from phase_boot.journal.event import Event


class Deduplicator:
    """The deduplicated facts of the present attempt and of the one before it.

    A fact is news where neither of the two had it, or where its line was left out of the journal
    since. So the facts that are remembered are bounded by those of two attempts.
    """

    def __init__(self) -> None:
        self._before: dict[Event, int] = {}
        self._present: dict[Event, int] = {}

    def is_known(self, fact: Event, *, holds: Callable[[int], bool]) -> bool:
        """Say whether ``fact`` is no news, and remember that the present attempt has it too.

        ``holds`` says whether the journal still has the line of a number.
        """
        seq = self._present.get(fact, self._before.get(fact))
        if seq is None or not holds(seq):
            return False
        self._present[fact] = seq
        return True

    def written(self, fact: Event, seq: int) -> None:
        """Remember the line of ``fact``."""
        self._present[fact] = seq

    def next_attempt(self) -> None:
        """A new attempt begins."""
        self._before, self._present = self._present, {}
