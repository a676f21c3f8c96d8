"""What machines tell one another of a file that each has in part: a bit for each stretch of it.

A stretch is all the chunks that begin in so many bytes of the file. Whoever knows the file's size
knows how many stretches there are; which chunks are in one only those know who know the chunks.
"""

from __future__ import annotations

from typing import Final

from phase_boot.content.chunk_list import ChunkList

MIN_PIECE_SIZE: Final = 256 * 1024
"""Bytes of a stretch, at least."""
MAX_PIECES: Final = 4096
"""Pieces of a file, at most: 1 KiB of text for what somebody holds."""
_HEX: Final = frozenset("0123456789abcdef")


def piece_size(size: int) -> int:
    """Return how many bytes each stretch of a file of ``size`` bytes is about."""
    length = MIN_PIECE_SIZE
    while length * MAX_PIECES < size:
        length *= 2
    return length


def piece_count(size: int) -> int:
    """Return how many stretches a file of ``size`` bytes has."""
    return -(-size // piece_size(size))


def encode_bitfield(held: int, count: int) -> str:
    """Return the stretches that somebody holds as text: always the same for the same ones."""
    return f"{held:0{_digits(count)}x}"


def decode_bitfield(text: object, count: int) -> int:
    """Return the stretches that such a text names.

    Raises:
        ValueError: it is none, or names some that there are not.
    """
    if not isinstance(text, str) or len(text) != _digits(count) or not _HEX.issuperset(text):
        raise ValueError(f"what is held of {count} stretches has {_digits(count)} hex digits")
    held = int(text, 16)
    if held >> count:
        raise ValueError(f"there are {count} stretches")
    return held


def _digits(count: int) -> int:
    return max(1, -(-count // 4))


class PieceMap:
    """The stretches of one file whose chunks are known."""

    def __init__(self, chunks: ChunkList) -> None:
        """Find the first chunk of each stretch."""
        self._chunks = chunks
        length = piece_size(chunks.size)
        self.count = piece_count(chunks.size)
        self._firsts = [_first_chunk_from(chunks, number * length) for number in range(self.count)]
        self._firsts.append(chunks.count)

    @property
    def full_bitfield(self) -> int:
        """All stretches."""
        return (1 << self.count) - 1

    def first_chunk(self, number: int) -> int:
        """Return the first chunk of a stretch, or of what comes after the last one."""
        return min(self._firsts[number], self._chunks.count - 1)

    def piece_offsets(self) -> list[int]:
        """Return where each stretch begins, and the last one's end."""
        return [self._chunks.span(first, first)[0] for first in self._firsts]

    def completed(self, have: bytes | bytearray) -> int:
        """Return the stretches of which every chunk is marked as being here."""
        firsts, found = self._firsts, 0
        for number in range(self.count):
            if have.find(0, firsts[number], firsts[number + 1]) < 0:
                found |= 1 << number
        return found

    def chunk_mask(self, held: int) -> bytearray:
        """Return a mark for each chunk: 1 where its stretch is in ``held``."""
        marks, firsts = bytearray(self._chunks.count), self._firsts
        for number in range(self.count):
            if held >> number & 1:
                first, end = firsts[number], firsts[number + 1]
                marks[first:end] = b"\1" * (end - first)
        return marks


def _first_chunk_from(chunks: ChunkList, offset: int) -> int:
    """Return the first chunk that begins at ``offset`` or later."""
    number = chunks.at(offset)
    return number if chunks.span(number, number)[0] == offset else number + 1
