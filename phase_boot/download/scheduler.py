"""Chunk scheduler: decides which source downloads which of the missing chunks.

It performs no I/O. The worker of a lane of a source asks it for the next run of chunks, and owns
it. Once none is free, a fast one takes over a part of the slowest assignment, so that both end at
the same time. At the very end, the endgame of BitTorrent, it may request a chunk that a slow source
is sending already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from phase_boot.content.chunk_list import ChunkList

ENDGAME_SPEEDUP: Final = 2.0
"""A source this many times faster may duplicate an outstanding request."""
ALMOST_DONE_SECONDS: Final = 0.2
"""An assignment that ends sooner is left to its owner."""
_FREE: Final = 1
_INVERTED: Final = bytes([_FREE]) + bytes(255)
"""Translation table from marks of present chunks to marks of free ones."""
_Owner = TypeVar("_Owner")


@dataclass(eq=False, slots=True)
class Assignment(Generic[_Owner]):
    """Chunks that one lane downloads: from ``first`` to ``end``, exclusive.

    ``first`` grows as chunks arrive; ``end`` shrinks when another source takes over the rest.
    """

    owner: _Owner
    first: int
    end: int

    @property
    def done(self) -> bool:
        """Whether nothing is left to download."""
        return self.first >= self.end


class ChunkScheduler(Generic[_Owner]):
    """The missing chunks of an artifact: free ones, and those that are assigned."""

    def __init__(self, chunks: ChunkList, have: bytearray) -> None:
        """Take the chunks, and the marks of present ones, which the writer sets."""
        self._chunks = chunks
        self._have = have
        self._free = have.translate(_INVERTED)
        self._assignments: list[Assignment[_Owner]] = []
        self.free_bytes = sum(chunks.span(*run)[1] for run in _runs(self._free))
        """Bytes of the free chunks."""

    def any_free(self, have: bytes | bytearray | None) -> bool:
        """Return whether a chunk that is marked in ``have`` is free; any one if it is None."""
        return self._find(have, 0) is not None

    def is_assigned(self, owner: _Owner) -> bool:
        """Return whether an owner has chunks to download."""
        return any(each.owner is owner and not each.done for each in self._assignments)

    def assign(
        self, owner: _Owner, want: int, *, have: bytes | bytearray | None = None, start: int = 0
    ) -> Assignment[_Owner] | None:
        """Assign the next free chunks from ``start`` on: about ``want`` bytes, at least one.

        With ``have`` only the chunks marked there. None if no chunk is free for this owner.
        """
        first = self._find(have, start)
        if first is None:
            first = self._find(have, 0)
        if first is None:
            return None
        end = self._end_of_run(self._free, first)
        if have is not None:
            end = min(end, self._end_of_run(have, first))
        offset, length = self._chunks.span(first, end)
        if length > want:
            end = max(first + 1, self._chunks.chunk_at(offset + want))
        assignment = Assignment(owner, first, end)
        self._free[first:end] = bytes(end - first)
        self.free_bytes -= self._chunks.span(first, end)[1]
        self._assignments.append(assignment)
        return assignment

    def steal(
        self,
        owner: _Owner,
        rate: float,
        rate_of: Callable[[_Owner], float],
        *,
        have: bytes | bytearray | None = None,
    ) -> Assignment[_Owner] | None:
        """Assign a part of the slowest assignment, once no chunk is free for this owner.

        Rates are in bytes per second. The part is chosen so that both end at the same time. An
        assignment that cannot be divided is duplicated if this owner is much faster.
        """
        others = [
            assignment
            for assignment in self._assignments
            if assignment.owner is not owner and not assignment.done
        ]
        if rate <= 0 or not others:
            return None
        slowest = max(
            others, key=lambda assignment: self._seconds(assignment, rate_of(assignment.owner))
        )
        theirs = rate_of(slowest.owner)
        if self._seconds(slowest, theirs) < ALMOST_DONE_SECONDS:
            return None
        _, left = self._chunks.span(slowest.first, slowest.end)
        cut = slowest.first
        if theirs > 0:
            kept = int(left * theirs / (theirs + rate))
            offset, _ = self._chunks.span(slowest.first, slowest.first)
            # The chunk that is arriving now stays with its owner.
            cut = min(self._chunks.chunk_at(min(offset + kept, offset + left - 1)) + 1, slowest.end)
        if cut == slowest.end:
            return self._endgame(owner, slowest, rate, theirs, have)
        if have is not None and not all(have[cut : slowest.end]):
            return None
        assignment = Assignment(owner, cut, slowest.end)
        slowest.end = max(cut, slowest.first)
        self._assignments.append(assignment)
        return assignment

    def release(self, assignment: Assignment[_Owner]) -> None:
        """End an assignment: its missing chunks that are in no other assignment are free again."""
        self._assignments.remove(assignment)
        for number in range(assignment.first, assignment.end):
            taken = any(other.first <= number < other.end for other in self._assignments)
            if not taken and not self._have[number]:
                self._free[number] = _FREE
                self.free_bytes += self._chunks.chunk(number).size

    def _endgame(
        self,
        owner: _Owner,
        assignment: Assignment[_Owner],
        rate: float,
        theirs: float,
        have: bytes | bytearray | None,
    ) -> Assignment[_Owner] | None:
        number = assignment.end - 1
        twice = any(t is not assignment and t.first <= number < t.end for t in self._assignments)
        if twice or rate < ENDGAME_SPEEDUP * theirs or (have is not None and not have[number]):
            return None
        twin = Assignment(owner, number, assignment.end)
        self._assignments.append(twin)
        return twin

    def _seconds(self, assignment: Assignment[_Owner], rate: float) -> float:
        _, left = self._chunks.span(assignment.first, assignment.end)
        return left / rate if rate > 0 else float("inf")

    def _find(self, have: bytes | bytearray | None, start: int) -> int | None:
        """Return the first free chunk from ``start`` on that is marked in ``have``, or None."""
        number = self._free.find(_FREE, start)
        while have is not None and number >= 0 and not have[number]:
            other = have.find(1, number)
            if other < 0:
                return None
            number = self._free.find(_FREE, other)
        return number if number >= 0 else None

    @staticmethod
    def _end_of_run(marks: bytes | bytearray, first: int) -> int:
        end = marks.find(0, first)
        return len(marks) if end < 0 else end


def _runs(marks: bytearray) -> Iterator[tuple[int, int]]:
    """Yield the begin and the exclusive end of each run of set marks."""
    first = marks.find(_FREE)
    while first >= 0:
        end = marks.find(0, first)
        end = len(marks) if end < 0 else end
        yield first, end
        first = marks.find(_FREE, end)
