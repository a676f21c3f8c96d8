from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.pieces import (
    MAX_PIECES,
    MIN_PIECE_SIZE,
    PieceMap,
    decode_bitfield,
    encode_bitfield,
    piece_count,
    piece_size,
)

sizes = st.integers(min_value=1, max_value=1 << 16)


def listed(lengths: list[int]) -> ChunkList:
    return ChunkList.of((bytes(32), length) for length in lengths)


@given(st.lists(sizes, min_size=1, max_size=120), st.randoms(use_true_random=False))
def test_every_chunk_is_in_one_piece_and_masks_round_trip(
    lengths: list[int], dice: random.Random
) -> None:
    chunks = listed(lengths)
    pieces = PieceMap(chunks)
    assert pieces.count == piece_count(chunks.size)
    assert pieces.chunk_mask(pieces.full_bitfield) == b"\1" * chunks.count
    held = dice.getrandbits(pieces.count)
    assert pieces.completed(pieces.chunk_mask(held)) | held == pieces.completed(
        pieces.chunk_mask(held)
    )
    alone = [pieces.chunk_mask(1 << number) for number in range(pieces.count)]
    assert [sum(column) for column in zip(*alone, strict=True)] == [1] * chunks.count


@given(st.lists(sizes, min_size=1, max_size=120))
def test_a_piece_with_a_missing_chunk_is_incomplete(lengths: list[int]) -> None:
    chunks = listed(lengths)
    pieces = PieceMap(chunks)
    have = bytearray(b"\1" * chunks.count)
    have[chunks.count // 2] = 0
    left = pieces.full_bitfield & ~pieces.completed(have)
    assert left.bit_count() == 1
    assert pieces.chunk_mask(left)[chunks.count // 2] == 1


def test_piece_offsets_cover_the_file_along_chunk_boundaries() -> None:
    chunks = listed([60_000] * 20)
    cuts = PieceMap(chunks).piece_offsets()
    assert cuts == [0, 300_000, 540_000, 840_000, 1_080_000, 1_200_000]


@pytest.mark.parametrize(
    "size",
    [
        1,
        MIN_PIECE_SIZE,
        MIN_PIECE_SIZE + 1,
        MIN_PIECE_SIZE * MAX_PIECES,
        MIN_PIECE_SIZE * MAX_PIECES + 1,
        1 << 44,
    ],
)
def test_the_number_of_pieces_is_bounded(size: int) -> None:
    assert 1 <= piece_count(size) <= MAX_PIECES
    assert piece_count(size) * piece_size(size) >= size


@given(st.integers(min_value=1, max_value=MAX_PIECES), st.data())
def test_a_bitfield_round_trips(count: int, data: st.DataObject) -> None:
    held = data.draw(st.integers(min_value=0, max_value=(1 << count) - 1))
    assert decode_bitfield(encode_bitfield(held, count), count) == held
    assert len(encode_bitfield(held, count)) == len(encode_bitfield(0, count))


@pytest.mark.parametrize(
    "text",
    [None, 7, [], "", "f", "fff", "0F", " f", "+f", "_f", "0x", "f\n", "4f", "\u0660f", "ff" * 999],
)
def test_an_invalid_bitfield_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="pieces"):
        decode_bitfield(text, 6)
