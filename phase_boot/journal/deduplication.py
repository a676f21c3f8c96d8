"""Decides whether an event that states a condition is news, or repeats the previous attempt's.

Pure: it gets events and their sequence numbers, and no line.
"""

from __future__ import annotations

from collections.abc import Callable

from phase_boot.journal.event import Event


class Deduplicator:
    """The deduplicated events of the present attempt and of the previous one.

    An event is news if neither attempt had it, or if its line was dropped from the journal since.
    So the memory is bounded by the events of two attempts.
    """

    def __init__(self) -> None:
        self._previous: dict[Event, int] = {}
        self._present: dict[Event, int] = {}

    def is_known(self, event: Event, *, holds: Callable[[int], bool]) -> bool:
        """Return whether ``event`` is no news; remember that the present attempt has it too.

        ``holds`` returns whether the journal still has the line of a sequence number.
        """
        seq = self._present.get(event, self._previous.get(event))
        if seq is None or not holds(seq):
            return False
        self._present[event] = seq
        return True

    def written(self, event: Event, seq: int) -> None:
        """Remember the sequence number of ``event``."""
        self._present[event] = seq

    def next_attempt(self) -> None:
        """Begin a new attempt."""
        self._previous, self._present = self._present, {}
