"""Content-defined chunking (FastCDC), so that two versions of a file share most chunks.

A gear hash of the 32 bytes before an offset decides whether a chunk ends there: the sum of one
random number for each byte, shifted by its distance. numpy computes it for a whole block at once by
doubling the window: the hash of a window follows from those of its halves. This is the only user of
numpy, and it runs only where a release is published, never on a machine that boots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from phase_boot.content.car import ByteSource
from phase_boot.content.chunk_list import MAX_CHUNKS, ChunkList
from phase_boot.content.dag_pb import MAX_BLOCK

KIB: Final = 1024
WINDOW: Final = 32
"""Bytes before an offset that are hashed: one for each bit of the hash."""
BLOCK: Final = 128 * KIB
"""Bytes that are hashed at once: with the intermediate results they fit into the CPU cache."""

_Hashes: TypeAlias = NDArray[np.uint32]
_BITS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkerParams:
    """The sizes of chunks in bytes, and how frequent boundaries are.

    A chunk ends at the first boundary after ``min_size``, at ``max_size`` at the latest. Up to
    ``normal_size`` a strict threshold selects few boundaries, after it a loose one selects more
    (normalized chunking), so that most chunks are near that size.
    """

    min_size: int
    normal_size: int
    max_size: int
    strict_one_in: int
    """One offset in this many is below the strict threshold; a power of two."""
    loose_one_in: int
    """The same for the loose threshold."""


DEFAULT_PARAMS: Final = ChunkerParams(
    min_size=2 * KIB,
    normal_size=12 * KIB,
    max_size=64 * KIB,
    strict_one_in=32 * KIB,
    loose_one_in=8 * KIB,
)
"""16 KiB on average (docs/adr/0008-chunks.md)."""


def params_for(size: int) -> ChunkerParams:
    """Return parameters by which a file of ``size`` bytes has at most MAX_CHUNKS chunks."""
    factor = 1
    while size > MAX_CHUNKS * DEFAULT_PARAMS.min_size * factor:
        factor *= 2
    return ChunkerParams(
        min_size=DEFAULT_PARAMS.min_size * factor,
        normal_size=min(DEFAULT_PARAMS.normal_size * factor, MAX_BLOCK),
        max_size=min(DEFAULT_PARAMS.max_size * factor, MAX_BLOCK),
        strict_one_in=DEFAULT_PARAMS.strict_one_in * factor,
        loose_one_in=DEFAULT_PARAMS.loose_one_in * factor,
    )


def build_chunk_list(source: ByteSource, params: ChunkerParams, block: int = BLOCK) -> ChunkList:
    """Read ``source`` to its end and return its chunks; ``block`` affects only the speed."""
    chunks = ChunkList()
    for chunk in cut_chunks(source, params, block):
        chunks.append(hashlib.sha256(chunk).digest(), len(chunk))
    return chunks


def cut_chunks(source: ByteSource, params: ChunkerParams, block: int = BLOCK) -> Iterator[bytes]:
    """Yield the chunks of ``source`` one after another."""
    finder = _BoundaryFinder(params)
    held = bytearray()
    """The bytes from the start of the current chunk on."""
    boundaries: list[tuple[int, bool]] = []
    while data := source.read(block):
        boundaries += [(len(held) + offset, strict) for offset, strict in finder.boundaries(data)]
        held += data
        start = 0
        for end in _final_ends(boundaries, params, len(held)):
            yield bytes(held[start:end])
            start = end
        boundaries = [(offset - start, strict) for offset, strict in boundaries if offset > start]
        del held[:start]
    for start, end in _last_chunks(boundaries, params, len(held)):
        yield bytes(held[start:end])


class _BoundaryFinder:
    """Finds boundaries in consecutive blocks of any size."""

    def __init__(self, params: ChunkerParams) -> None:
        self._strict = np.uint32((1 << _BITS) // params.strict_one_in)
        self._loose = np.uint32((1 << _BITS) // params.loose_one_in)
        self._before = bytes(WINDOW - 1)

    def boundaries(self, data: bytes) -> list[tuple[int, bool]]:
        """Return the offset after each boundary in ``data``, and whether it is a strict one."""
        window = self._before + data
        self._before = window[-(WINDOW - 1) :]
        hashes = _hashes(window)
        found = np.flatnonzero(hashes < self._loose)
        strict = hashes[found] < self._strict
        return list(zip((found + 1).tolist(), strict.tolist(), strict=True))


def _hashes(data: bytes) -> _Hashes:
    """Return the hash of each window of ``data``."""
    hashes = _GEAR.take(np.frombuffer(data, np.uint8))
    width = 1
    while width < WINDOW:
        # The newer half unchanged, the older half shifted by the length of the newer.
        older = hashes[:-width] << np.uint32(width)
        older += hashes[width:]
        hashes = older
        width *= 2
    return hashes


def _final_ends(
    boundaries: list[tuple[int, bool]], params: ChunkerParams, size: int
) -> Iterator[int]:
    """Yield the ends of chunks in ``size`` bytes that no later byte can change."""
    start, at = 0, 0
    while size - start >= params.max_size:
        end, at = _chunk_end(boundaries, params, start, at)
        yield end
        start = end


def _last_chunks(
    boundaries: list[tuple[int, bool]], params: ChunkerParams, size: int
) -> Iterator[tuple[int, int]]:
    """Yield start and end of the chunks at the end of the file."""
    start, at = 0, 0
    while start < size:
        end, at = _chunk_end(boundaries, params, start, at)
        yield start, min(end, size)
        start = end


def _chunk_end(
    boundaries: list[tuple[int, bool]], params: ChunkerParams, start: int, at: int
) -> tuple[int, int]:
    """Return the end of the chunk that begins at ``start``, and the index of the next boundary."""
    while at < len(boundaries):
        offset, strict = boundaries[at]
        length = offset - start
        if length > params.max_size:
            break
        at += 1
        if length >= params.min_size and (strict or length >= params.normal_size):
            return offset, at
    return start + params.max_size, at


def _gear_table() -> _Hashes:
    """Return the number of each byte value, from its sha256, so that every build has the same."""
    numbers = (hashlib.sha256(bytes((byte,))).digest()[:4] for byte in range(256))
    return np.array([int.from_bytes(number, "big") for number in numbers], np.uint32)


_GEAR: Final = _gear_table()
