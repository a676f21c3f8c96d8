"""The chunks of a file: the sha256 and position of each, in compact arrays.

A file can have a million chunks. As Python objects they would need hundreds of megabytes on a
machine that boots from memory; here a chunk takes 40 bytes, and 8 more in the table that finds it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from phase_boot.content.dag_pb import MAX_BLOCK

DIGEST_BYTES: Final = 32
MAX_CHUNKS: Final = 1 << 20
"""Chunks of one file, which take 42 MB of memory. Larger files are cut into larger chunks."""

_INDEX: Final = "I"
_OFFSET: Final = "Q"
_LOAD: Final = 2
"""Slots of the hash table for each chunk."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk of a file: the sha256 of its bytes, and its offset and size."""

    digest: bytes
    offset: int
    size: int


class ChunkList:
    """All chunks of a file in order, 40 bytes of memory for each."""

    __slots__ = ("_digests", "_ends")

    def __init__(self) -> None:
        """Start with the empty file."""
        self._digests = bytearray()
        self._ends = array(_OFFSET)

    @classmethod
    def of(cls, chunks: Iterable[tuple[bytes, int]]) -> Self:
        """Return the list of the chunks that are given as sha256 and size, in order.

        Raises:
            ValueError: as ``append``.
        """
        listed = cls()
        for digest, size in chunks:
            listed.append(digest, size)
        return listed

    def append(self, digest: bytes, size: int) -> None:
        """Append the next chunk.

        Raises:
            ValueError: no sha256, an impossible size, or more than ``MAX_CHUNKS``.
        """
        if len(digest) != DIGEST_BYTES or not 0 < size <= MAX_BLOCK:
            raise ValueError(f"a chunk has {DIGEST_BYTES} bytes of sha256 and 1 to {MAX_BLOCK}")
        if self.count == MAX_CHUNKS:
            raise ValueError(f"a file has {MAX_CHUNKS} chunks at most")
        self._digests += digest
        self._ends.append(self.size + size)

    @property
    def count(self) -> int:
        """The number of chunks."""
        return len(self._ends)

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._ends[-1] if self._ends else 0

    def digest(self, number: int) -> bytes:
        """Return the sha256 of chunk ``number``, from 0; raise IndexError beyond the end."""
        if not 0 <= number < self.count:
            raise IndexError(f"there are {self.count} chunks")
        return bytes(self._digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES])

    def chunk(self, number: int) -> Chunk:
        """Return chunk ``number``, from 0; raise IndexError beyond the end."""
        digest = self.digest(number)
        offset = self._start(number)
        return Chunk(digest, offset, self._ends[number] - offset)

    def span(self, first: int, end: int) -> tuple[int, int]:
        """Return the offset and length of the chunks ``first`` to ``end``, without ``end``.

        Raises:
            IndexError: there are no such chunks.
        """
        if not 0 <= first <= end <= self.count:
            raise IndexError(f"there are {self.count} chunks")
        offset = self._start(first)
        return offset, self._start(end) - offset

    def verify_prefix(self, number: int, data: memoryview) -> tuple[int, int]:
        """Return how many chunks from ``number`` on ``data`` starts with, and their bytes.

        An incomplete chunk does not count, nor do the chunks after a wrong one.
        """
        # Written for speed: this hashes every byte of a download.
        digests, ends, count = self._digests, self._ends, self.count
        start, last, have = self._start(number), number, len(data)
        done = 0
        while last < count:
            end = ends[last] - start
            if end > have:
                break
            at = last * DIGEST_BYTES
            if sha256(data[done:end]).digest() != digests[at : at + DIGEST_BYTES]:
                break
            last, done = last + 1, end
        return last - number, done

    def chunk_at(self, offset: int) -> int:
        """Return the number of the chunk with the byte at ``offset``, or raise IndexError."""
        if not 0 <= offset < self.size:
            raise IndexError(f"there are {self.size} bytes")
        return bisect_right(self._ends, offset)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Chunk]:
        return map(self.chunk, range(self.count))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ChunkList):
            return NotImplemented
        return self._ends == other._ends and self._digests == other._digests

    __hash__ = None  # type: ignore[assignment]  # mutable, so not hashable

    def _start(self, number: int) -> int:
        return self._ends[number - 1] if number else 0


class ChunkTable:
    """A hash table from sha256 to chunk number, with 8 bytes of memory for each chunk."""

    __slots__ = ("_chunks", "_mask", "_slots")

    def __init__(self, chunks: ChunkList) -> None:
        """Index ``chunks``, which must not change afterwards."""
        self._chunks = chunks
        self._mask = (1 << (_LOAD * chunks.count).bit_length()) - 1
        # A slot holds the number of a chunk plus one; 0 is an empty slot.
        self._slots = array(_INDEX, bytes(array(_INDEX).itemsize * (self._mask + 1)))
        for number in range(chunks.count):
            slot = self._slot(chunks.digest(number))
            if not self._slots[slot]:
                self._slots[slot] = number + 1

    def find(self, digest: bytes) -> int | None:
        """Return the number of the first chunk with this sha256, or None."""
        held = self._slots[self._slot(digest)]
        return held - 1 if held else None

    def _slot(self, digest: bytes) -> int:
        """Return the slot of ``digest``, or the empty slot where it belongs."""
        slot = int.from_bytes(digest[:8], "big") & self._mask
        while (held := self._slots[slot]) and self._chunks.digest(held - 1) != digest:
            slot = (slot + 1) & self._mask
        return slot
