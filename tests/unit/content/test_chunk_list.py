from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content import chunk_list as module
from phase_boot.content.chunk_list import Chunk, ChunkList, ChunkTable
from phase_boot.content.dag_pb import MAX_BLOCK

pieces = st.lists(st.binary(min_size=1, max_size=3), max_size=40)


def listed(content: list[bytes]) -> ChunkList:
    return ChunkList.of((hashlib.sha256(piece).digest(), len(piece)) for piece in content)


@given(pieces)
def test_a_list_covers_the_file_without_gaps(content: list[bytes]) -> None:
    chunks, whole = listed(content), b"".join(content)
    assert (chunks.count, len(chunks), chunks.size) == (len(content), len(content), len(whole))
    for number, chunk in enumerate(chunks):
        piece = whole[chunk.offset : chunk.offset + chunk.size]
        assert chunk == chunks.chunk(number) == Chunk(chunk.digest, chunk.offset, len(piece))
        assert hashlib.sha256(piece).digest() == chunk.digest == chunks.digest(number)
        assert chunks.span(number, number + 1) == (chunk.offset, chunk.size)
        assert (
            chunks.chunk_at(chunk.offset)
            == chunks.chunk_at(chunk.offset + chunk.size - 1)
            == number
        )
    assert chunks.span(0, chunks.count) == (0, chunks.size)
    assert chunks.span(chunks.count, chunks.count) == (chunks.size, 0)


@given(pieces)
def test_the_table_finds_the_first_of_equal_chunks(content: list[bytes]) -> None:
    table = ChunkTable(listed(content))
    for piece in content:
        assert table.find(hashlib.sha256(piece).digest()) == content.index(piece)
    assert table.find(hashlib.sha256(b"absent").digest()) is None
    assert table.find(bytes(32)) is None


def test_digests_with_the_same_hash_slot_are_distinguished() -> None:
    alike = [bytes(8) + bytes((number,)) * 24 for number in range(5)]
    table = ChunkTable(ChunkList.of((digest, 1) for digest in alike[:4]))
    assert [table.find(digest) for digest in alike] == [0, 1, 2, 3, None]


@pytest.mark.parametrize("number", [-1, 2])
def test_a_number_out_of_range_is_an_index_error(number: int) -> None:
    chunks = listed([b"a", b"b"])
    for asked in (chunks.chunk, chunks.digest, chunks.chunk_at):
        with pytest.raises(IndexError):
            asked(number)
    for first, end in ((-1, 2), (1, 0), (0, 3)):
        with pytest.raises(IndexError):
            chunks.span(first, end)


@pytest.mark.parametrize(
    ("digest", "size"),
    [(bytes(31), 1), (bytes(32), 0), (bytes(32), -1), (bytes(32), MAX_BLOCK + 1)],
)
def test_an_invalid_chunk_is_refused(digest: bytes, size: int) -> None:
    chunks = ChunkList()
    with pytest.raises(ValueError, match="a chunk has"):
        chunks.append(digest, size)
    assert chunks == ChunkList()


def test_the_number_of_chunks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHUNKS", 2)
    chunks = listed([b"a", b"b"])
    with pytest.raises(ValueError, match="at most"):
        chunks.append(bytes(32), 1)
    assert chunks.count == 2
