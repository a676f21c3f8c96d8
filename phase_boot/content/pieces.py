"""Pieces, the unit in which peers announce what they have of a file, as in BitTorrent.

A piece is all the chunks that begin in one span of the file, of 256 KiB or more. The number of
pieces follows from the size of the file alone, so a tracker can check a bitfield. Which chunks a
piece has follows from the list of chunks, which only the peers know.
"""

from __future__ import annotations

from typing import Final

from phase_boot.content.chunk_list import ChunkList

MIN_PIECE_SIZE: Final = 256 * 1024
"""Bytes of the smallest piece."""
MAX_PIECES: Final = 4096
"""Pieces of a file at most, so that a bitfield is at most 1 KiB of text."""
MAX_ANNOUNCED: Final = 8
"""Artifacts of one announcement; a tracker accepts no more."""
MAX_FAILED: Final = 16
"""Peers that one announcement reports as failed; a tracker accepts no more."""
_HEX: Final = frozenset("0123456789abcdef")


def piece_size(size: int) -> int:
    """Return the nominal bytes of a piece of a file of ``size`` bytes."""
    length = MIN_PIECE_SIZE
    while length * MAX_PIECES < size:
        length *= 2
    return length


def piece_count(size: int) -> int:
    """Return how many pieces a file of ``size`` bytes has."""
    return -(-size // piece_size(size))


def encode_bitfield(held: int, count: int) -> str:
    """Return a bitfield of ``count`` pieces as hex digits, of a length that depends on it only."""
    return f"{held:0{_digits(count)}x}"


def decode_bitfield(text: object, count: int) -> int:
    """Parse a bitfield of ``count`` pieces, which comes from an untrusted peer.

    Raises:
        ValueError: the text is no bitfield of this length, or has a bit beyond the last piece.
    """
    if not isinstance(text, str) or len(text) != _digits(count) or not _HEX.issuperset(text):
        raise ValueError(f"a bitfield of {count} pieces has {_digits(count)} hex digits")
    held = int(text, 16)
    if held >> count:
        raise ValueError(f"there are only {count} pieces")
    return held


def _digits(count: int) -> int:
    return max(1, -(-count // 4))


class PieceMap:
    """The pieces of a file whose chunks are known."""

    def __init__(self, chunks: ChunkList) -> None:
        """Find the first chunk of each piece."""
        self._chunks = chunks
        length = piece_size(chunks.size)
        self.count = piece_count(chunks.size)
        self._firsts = [_first_chunk_from(chunks, number * length) for number in range(self.count)]
        self._firsts.append(chunks.count)

    @property
    def full_bitfield(self) -> int:
        """The bitfield of all pieces."""
        return (1 << self.count) - 1

    def first_chunk(self, number: int) -> int:
        """Return the first chunk from piece ``number`` on, or else the last chunk."""
        return min(self._firsts[number], self._chunks.count - 1)

    def piece_offsets(self) -> list[int]:
        """Return the offset of each piece, and the end of the last one."""
        return [self._chunks.span(first, first)[0] for first in self._firsts]

    def completed(self, have: bytes | bytearray) -> int:
        """Return the bitfield of the pieces whose chunks are all marked in ``have``."""
        firsts, found = self._firsts, 0
        for number in range(self.count):
            if have.find(0, firsts[number], firsts[number + 1]) < 0:
                found |= 1 << number
        return found

    def chunk_mask(self, held: int) -> bytearray:
        """Return a mark for each chunk: 1 if its piece is in the bitfield ``held``."""
        marks, firsts = bytearray(self._chunks.count), self._firsts
        for number in range(self.count):
            if held >> number & 1:
                first, end = firsts[number], firsts[number + 1]
                marks[first:end] = b"\1" * (end - first)
        return marks


def _first_chunk_from(chunks: ChunkList, offset: int) -> int:
    """Return the number of the first chunk that begins at ``offset`` or later."""
    number = chunks.chunk_at(offset)
    return number if chunks.span(number, number)[0] == offset else number + 1
