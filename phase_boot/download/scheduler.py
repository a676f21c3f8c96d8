"""Who fetches which of the missing chunks: pure, and asked by every worker for its next span."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from phase_boot.content.chunk_list import ChunkList
from phase_boot.download.source import Source

WORTH: Final = 2.0
"""Who would be so many times faster may ask for what another one is about to get."""
SOON_SECONDS: Final = 0.2
"""Who will be done so soon is left alone."""
_FREE: Final = 1
_INVERTED: Final = bytes([_FREE]) + bytes(255)
"""A table that turns what is here into what is free."""


@dataclass(eq=False, slots=True)
class Task:
    """Chunks that somebody is fetching: from ``first`` up to, not with, ``end``.

    ``first`` moves on as they arrive; ``end`` moves back when another one takes over the rest.
    """

    owner: Source
    first: int
    end: int

    @property
    def over(self) -> bool:
        """Whether there is nothing left to fetch."""
        return self.first >= self.end


class Board:
    """The chunks that are missing: free ones, and those that somebody is fetching."""

    def __init__(self, chunks: ChunkList, have: bytearray) -> None:
        """Take the chunks, and the marks of those that are here, which others set."""
        self._chunks = chunks
        self._have = have
        self._free = have.translate(_INVERTED)
        self._tasks: list[Task] = []
        self.free_bytes = sum(chunks.span(*run)[1] for run in _runs(self._free))
        """Bytes that nobody is fetching."""

    def take(
        self, owner: Source, want: int, *, held: bytes | bytearray | None = None, near: int = 0
    ) -> Task | None:
        """Hand out the next free chunks from ``near`` on: about ``want`` bytes, at least one chunk.

        With ``held`` only those that are marked there. None if there are none for this owner.
        """
        first = self._find(held, near)
        if first is None:
            first = self._find(held, 0)
        if first is None:
            return None
        end = self._end_of_run(self._free, first)
        if held is not None:
            end = min(end, self._end_of_run(held, first))
        offset, length = self._chunks.span(first, end)
        if length > want:
            end = max(first + 1, self._chunks.at(offset + want))
        task = Task(owner, first, end)
        self._free[first:end] = bytes(end - first)
        self.free_bytes -= self._chunks.span(first, end)[1]
        self._tasks.append(task)
        return task

    def take_over(
        self,
        owner: Source,
        rate: float,
        rate_of: Callable[[Source], float],
        *,
        held: bytes | bytearray | None = None,
    ) -> Task | None:
        """Hand out a part of what the slowest is fetching, once nothing is free for this owner.

        Rates are in bytes per second. The two will be done at the same time; where nothing is left
        to be divided both fetch it, if this owner is much faster.
        """
        others = [task for task in self._tasks if task.owner is not owner and not task.over]
        if rate <= 0 or not others:
            return None
        slowest = max(others, key=lambda task: self._seconds(task, rate_of(task.owner)))
        theirs = rate_of(slowest.owner)
        if self._seconds(slowest, theirs) < SOON_SECONDS:
            return None
        _, left = self._chunks.span(slowest.first, slowest.end)
        cut = slowest.first
        if theirs > 0:
            kept = int(left * theirs / (theirs + rate))
            offset, _ = self._chunks.span(slowest.first, slowest.first)
            # What is arriving this moment is theirs.
            cut = min(self._chunks.at(min(offset + kept, offset + left - 1)) + 1, slowest.end)
        if cut == slowest.end:
            return self._twin(owner, slowest, rate, theirs, held)
        if held is not None and not all(held[cut : slowest.end]):
            return None
        task = Task(owner, cut, slowest.end)
        slowest.end = max(cut, slowest.first)
        self._tasks.append(task)
        return task

    def drop(self, task: Task) -> None:
        """Take a task back: what of it is not here, and fetched by nobody else, is free again."""
        self._tasks.remove(task)
        for number in range(task.first, task.end):
            taken = any(other.first <= number < other.end for other in self._tasks)
            if not taken and not self._have[number]:
                self._free[number] = _FREE
                self.free_bytes += self._chunks.chunk(number).size

    def _twin(
        self,
        owner: Source,
        task: Task,
        rate: float,
        theirs: float,
        held: bytes | bytearray | None,
    ) -> Task | None:
        number = task.end - 1
        twice = any(t is not task and t.first <= number < t.end for t in self._tasks)
        if twice or rate < WORTH * theirs or (held is not None and not held[number]):
            return None
        twin = Task(owner, number, task.end)
        self._tasks.append(twin)
        return twin

    def _seconds(self, task: Task, rate: float) -> float:
        _, left = self._chunks.span(task.first, task.end)
        return left / rate if rate > 0 else float("inf")

    def _find(self, held: bytes | bytearray | None, start: int) -> int | None:
        """Return the first free chunk from ``start`` on that may be had, or None."""
        number = self._free.find(_FREE, start)
        while held is not None and number >= 0 and not held[number]:
            other = held.find(1, number)
            if other < 0:
                return None
            number = self._free.find(_FREE, other)
        return number if number >= 0 else None

    @staticmethod
    def _end_of_run(marks: bytes | bytearray, first: int) -> int:
        end = marks.find(0, first)
        return len(marks) if end < 0 else end


def _runs(marks: bytearray) -> Iterator[tuple[int, int]]:
    """Yield from where up to, not with, where marks are set."""
    first = marks.find(_FREE)
    while first >= 0:
        end = marks.find(0, first)
        end = len(marks) if end < 0 else end
        yield first, end
        first = marks.find(_FREE, end)
