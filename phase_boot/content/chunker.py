"""Cutting a file where its own bytes say so, so that two versions of it share most chunks.

Each place is judged by a gear hash of the bytes before it: each byte's random number, shifted by
how far back it is. numpy makes it for millions of places at once by doubling the window, from the
hashes of two halves that of the whole. The only user of numpy, which no machine that boots has.
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
"""Bytes before a place that are judged: one for each bit of the hash."""
BLOCK: Final = 128 * KIB
"""Bytes that are judged at once: what a processor's cache holds with all that is made of them."""

_Hashes: TypeAlias = NDArray[np.uint32]
_BITS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkerParams:
    """How large chunks are: after ``least`` bytes the first place that says so, ``most`` at most.

    Up to ``usual`` bytes few places say so, from there on many: few chunks are much larger or
    smaller than that.
    """

    min_size: int
    normal_size: int
    max_size: int
    strict_one_in: int
    """One place in so many, a power of two."""
    loose_one_in: int


DEFAULT_PARAMS: Final = ChunkerParams(
    min_size=2 * KIB,
    normal_size=12 * KIB,
    max_size=64 * KIB,
    strict_one_in=32 * KIB,
    loose_one_in=8 * KIB,
)
"""16 KiB on average (docs/adr/0008-chunks.md)."""


def params_for(size: int) -> ChunkerParams:
    """Return how a file of ``size`` bytes is cut: so that it never has more than MAX_CHUNKS."""
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


def build_chunk_list(source: ByteSource, cut: ChunkerParams, block: int = BLOCK) -> ChunkList:
    """Read ``source`` to its end and return its chunks; ``block`` only decides how fast that is."""
    chunks = ChunkList()
    for piece in cut_chunks(source, cut, block):
        chunks.append(hashlib.sha256(piece).digest(), len(piece))
    return chunks


def cut_chunks(source: ByteSource, cut: ChunkerParams, block: int = BLOCK) -> Iterator[bytes]:
    """Yield the chunks of ``source`` one after another."""
    judge = _BoundaryFinder(cut)
    held = bytearray()
    """From the beginning of this chunk on."""
    places: list[tuple[int, bool]] = []
    while data := source.read(block):
        places += [(len(held) + place, strict) for place, strict in judge.boundaries(data)]
        held += data
        start = 0
        for end in _final_ends(places, cut, len(held)):
            yield bytes(held[start:end])
            start = end
        places = [(place - start, strict) for place, strict in places if place > start]
        del held[:start]
    for start, end in _last_chunks(places, cut, len(held)):
        yield bytes(held[start:end])


class _BoundaryFinder:
    """Finds the places that say so, in blocks of any size."""

    def __init__(self, cut: ChunkerParams) -> None:
        self._strict = np.uint32((1 << _BITS) // cut.strict_one_in)
        self._loose = np.uint32((1 << _BITS) // cut.loose_one_in)
        self._before = bytes(WINDOW - 1)

    def boundaries(self, data: bytes) -> list[tuple[int, bool]]:
        """Return each place after a byte of ``data`` that says so, and whether it is one of few."""
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
        # The newer half as it is, and the older one shifted by the length of the newer.
        older = hashes[:-width] << np.uint32(width)
        older += hashes[width:]
        hashes = older
        width *= 2
    return hashes


def _final_ends(places: list[tuple[int, bool]], cut: ChunkerParams, size: int) -> Iterator[int]:
    """Yield where chunks end in ``size`` bytes, as far as no byte to come can change it."""
    start, at = 0, 0
    while size - start >= cut.max_size:
        end, at = _chunk_end(places, cut, start, at)
        yield end
        start = end


def _last_chunks(
    places: list[tuple[int, bool]], cut: ChunkerParams, size: int
) -> Iterator[tuple[int, int]]:
    """Yield the chunks of the last bytes."""
    start, at = 0, 0
    while start < size:
        end, at = _chunk_end(places, cut, start, at)
        yield start, min(end, size)
        start = end


def _chunk_end(
    places: list[tuple[int, bool]], cut: ChunkerParams, start: int, at: int
) -> tuple[int, int]:
    """Return where the chunk ends that begins at ``start``, and which place to look at next."""
    while at < len(places):
        place, strict = places[at]
        length = place - start
        if length > cut.max_size:
            break
        at += 1
        if length >= cut.min_size and (strict or length >= cut.normal_size):
            return place, at
    return start + cut.max_size, at


def _gear_table() -> _Hashes:
    """Return each byte's number: of its sha256, so that anybody gets the same."""
    numbers = (hashlib.sha256(bytes((byte,))).digest()[:4] for byte in range(256))
    return np.array([int.from_bytes(number, "big") for number in numbers], np.uint32)


_GEAR: Final = _gear_table()
