from __future__ import annotations

import hashlib
import random
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase_boot.content import dag_pb
from phase_boot.content.chunk_list import MAX_CHUNKS, ChunkList
from phase_boot.content.chunker import (
    DEFAULT_PARAMS,
    ChunkerParams,
    build_chunk_list,
    cut_chunks,
    params_for,
)
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import Fanout, build_dag
from phase_boot.content.dag_pb import MAX_BLOCK
from tests.support.examples import examples

SMALL = ChunkerParams(
    min_size=64, normal_size=192, max_size=1024, strict_one_in=512, loose_one_in=128
)
FAN = Fanout(min_children=2, one_in=4, max_children=16)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - repeatable, not secret


def cut(data: bytes, block: int = 4096) -> list[bytes]:
    return list(cut_chunks(BytesIO(data), SMALL, block))


def listed(data: bytes) -> ChunkList:
    return build_chunk_list(BytesIO(data), SMALL)


class Drops:
    """A file that gives as little at a time as it likes."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._file = BytesIO(data)
        self._sizes = sizes

    def read(self, size: int) -> bytes:
        self._sizes.append(self._sizes.pop(0))
        return self._file.read(min(size, self._sizes[0]))


files = st.builds(
    lambda seed, size, zeros: noise(size, seed) + bytes(zeros) + noise(size // 2, seed + 1),
    st.integers(0, 9),
    st.integers(0, 9000),
    st.integers(0, 5000),
)


@settings(deadline=None, max_examples=examples(60))
@given(files, st.lists(st.integers(1, 3000), min_size=1, max_size=5))
def test_boundaries_do_not_depend_on_read_sizes(data: bytes, sizes: list[int]) -> None:
    whole = cut(data, len(data) + 1)
    assert b"".join(whole) == data
    assert list(cut_chunks(Drops(data, sizes), SMALL, 4096)) == whole
    assert cut(data, 31) == whole


@settings(deadline=None, max_examples=examples(60))
@given(files)
def test_chunk_sizes_stay_within_the_parameters(data: bytes) -> None:
    sizes = [len(piece) for piece in cut(data)]
    assert all(SMALL.min_size <= size <= SMALL.max_size for size in sizes[:-1])
    assert all(0 < size <= SMALL.max_size for size in sizes[-1:])


@settings(deadline=None, max_examples=examples(40))
@given(files)
def test_the_bytes_of_the_dag_are_the_bytes_of_the_file(data: bytes) -> None:
    tree = build_dag(listed(data), FAN)
    blocks = {**dict(tree.nodes), **{Cid.of(Codec.RAW, piece): piece for piece in cut(data)}}

    def read(cid: Cid) -> bytes:
        if cid == Cid.of(Codec.RAW, b""):
            return b""
        node = dag_pb.read(blocks[cid], cid.codec)
        content = node.data + b"".join(read(link.cid) for link in node.links)
        assert len(content) == node.size
        return content

    assert read(tree.root) == data


@pytest.mark.parametrize("change", [b"", b"x", noise(5000, 7)])
def test_a_change_affects_only_chunks_near_it(change: bytes) -> None:
    old = noise(2_000_000)
    new = old[:1_000_000] + change + old[1_000_100:]
    before, after = listed(old), listed(new)
    known = {chunk.digest for chunk in before}
    lacking = [chunk for chunk in after if chunk.digest not in known]
    assert sum(chunk.size for chunk in lacking) < len(change) + 4 * SMALL.max_size
    tree, newer = build_dag(before, FAN), build_dag(after, FAN)
    more = {cid for cid, _ in newer.nodes} - {cid for cid, _ in tree.nodes}
    assert len(newer.nodes) > 1000
    assert len(more) < 30 + len(change) // 50


def test_half_of_the_bytes_are_in_chunks_near_the_normal_size() -> None:
    chunks = build_chunk_list(BytesIO(noise(8_000_000)), DEFAULT_PARAMS)
    assert 14_000 < chunks.size / chunks.count < 20_000
    usual = sum(chunk.size for chunk in chunks if 8_000 < chunk.size < 32_000)
    assert usual > chunks.size / 2


def test_an_empty_file_has_no_chunk_and_one_byte_has_one() -> None:
    assert cut(b"") == []
    assert cut(b"x") == [b"x"]
    assert build_dag(listed(b"x")).root == Cid.of(Codec.RAW, b"x")


def test_a_file_of_zeros_is_one_chunk_many_times() -> None:
    data = bytes(1_000_000)
    chunks = listed(data)
    assert len({chunk.digest for chunk in chunks}) <= 2
    assert chunks.digest(0) == hashlib.sha256(bytes(chunks.chunk(0).size)).digest()
    tree = build_dag(chunks, FAN)
    assert len(tree.nodes) < 20


@settings(deadline=None, max_examples=examples(30))
@given(st.integers(0, 300), st.booleans())
def test_all_levels_end_in_one_root(count: int, alike: bool) -> None:  # noqa: FBT001 - drawn
    chunks = ChunkList.of(
        (hashlib.sha256(b"" if alike else bytes((number % 251, number // 251))).digest(), 9)
        for number in range(count)
    )
    tree = build_dag(chunks, FAN)
    if count > 1:
        assert tree.nodes[0][0] == tree.root
        assert dag_pb.read(tree.nodes[0][1], Codec.DAG_PB).size == chunks.size
    for cid, block in tree.nodes:
        assert len(dag_pb.read(block, cid.codec).links) > 1


@pytest.mark.parametrize("size", [1, 2**30, 2**31, 2**31 + 1, 2**40])
def test_no_file_that_may_be_signed_has_too_many_chunks_or_too_large_ones(size: int) -> None:
    cut = params_for(size)
    assert size <= MAX_CHUNKS * cut.min_size
    assert cut.min_size < cut.normal_size <= cut.max_size <= MAX_BLOCK
    assert (cut == DEFAULT_PARAMS) is (size <= 2**31)
