from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase_boot.content import car, dag_pb
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import Fanout, build_dag
from phase_boot.content.dag_index import DagIndex, read_chunk_list
from phase_boot.content.leaf_level import MAX_GAP, ByteRange, IndexMismatch
from tests.support.dags import car_of, chunk_list, learn, pieces, tree_of


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"a", b"bc", b"def", b"0" * 70]), max_size=300), st.integers(1, 9))
def test_the_chunk_list_round_trips_with_repeated_chunks(content: list[bytes], step: int) -> None:
    chunks = chunk_list(content)
    tree = build_dag(chunks, Fanout(min_children=2, one_in=3, max_children=6))
    file, index = car_of(tree), DagIndex(tree.root, chunks.size)
    while not index.complete:
        part = index.needed_ranges()[0]
        known = any(index.missing_cids())
        length = part.length if known else max(part.length // step // 50, 1)
        index.feed(part.offset, file[part.offset : part.offset + length])
    assert index.chunks() == chunks
    assert index.needed_ranges() == []


def test_a_car_has_each_node_once_level_by_level() -> None:
    tree, chunks = tree_of(3000)
    blocks = list(car.blocks(car_of(tree), limit=10**7))
    assert blocks[0][0] == tree.root
    assert len({cid for cid, _ in blocks}) == len(blocks)
    depths = {tree.root: 0}
    for cid, block in blocks:
        for link in dag_pb.read(block, cid.codec).links:
            depths.setdefault(link.cid, depths[cid] + 1)
    in_order = [depths[cid] for cid, _ in blocks]
    assert in_order == sorted(in_order)
    leaves = {depths[Cid.parse(str(cid))] for cid in depths if cid.codec is Codec.RAW}
    assert leaves == {in_order[-1] + 1}
    assert chunks.count == 3000


def test_an_empty_file_and_a_single_chunk_are_their_own_root() -> None:
    for content in ([], [b"one"]):
        chunks = chunk_list(content)
        tree = build_dag(chunks)
        assert (tree.root, tree.nodes) == (Cid.of(Codec.RAW, b"".join(content)), ())
        index = DagIndex(tree.root, chunks.size)
        assert index.complete
        assert index.needed_ranges() == []
        assert index.chunks() == chunks
        assert list(index.missing_cids()) == []
        assert not index.add_block(tree.root, b"one")
        index.feed(0, b"nothing of this is read")


def test_nodes_of_older_versions_are_not_fetched() -> None:
    old = pieces(5000)
    new = [*old[:2000], b"new", *old[2001:]]
    before, after = build_dag(chunk_list(old)), build_dag(chunk_list(new))
    at_hand, file = dict(before.nodes), car_of(after)
    index = DagIndex(after.root, chunk_list(new).size)
    while not list(index.missing_cids()):
        part = index.needed_ranges()[0]
        index.feed(part.offset, file[part.offset : part.offset + part.length])
    lacking = [cid for cid in index.missing_cids() if cid not in at_hand]
    for cid in list(index.missing_cids()):
        assert index.add_block(cid, at_hand.get(cid, b"")) is (cid in at_hand)
        assert not index.add_block(cid, at_hand.get(cid, b""))
    assert list(index.missing_cids()) == lacking
    assert len(lacking) < 4
    assert learn(index, file) < 4 * 64 * 60
    assert index.chunks() == chunk_list(new)


def test_an_added_block_is_verified() -> None:
    tree, chunks = tree_of(300)
    index = DagIndex(tree.root, chunks.size)
    file = car_of(tree)
    index.feed(0, file[: len(file) - 1])
    [last] = index.missing_cids()
    assert not index.add_block(last, b"other bytes")
    assert list(index.missing_cids()) == [last]
    assert index.add_block(last, dict(tree.nodes)[last])
    assert index.chunks() == chunks


def test_small_gaps_are_fetched_and_large_ones_are_not() -> None:
    tree, chunks = tree_of(4000)
    file = car_of(tree)
    index = DagIndex(tree.root, chunks.size)
    while not list(index.missing_cids()):
        part = index.needed_ranges()[0]
        index.feed(part.offset, file[part.offset : part.offset + 600])
    dice = random.Random(3)  # noqa: S311 - repeatable, not secret
    nodes = dict(tree.nodes)
    for cid in [cid for cid in index.missing_cids() if dice.random() < 0.9]:
        index.add_block(cid, nodes[cid])
    wanted = index.needed_ranges()
    for one, other in itertools.pairwise(wanted):
        assert other.offset - (one.offset + one.length) > MAX_GAP
    held = b"".join(file[part.offset : part.offset + part.length] for part in wanted)
    assert all(nodes[cid] in held for cid in index.missing_cids())
    assert sum(part.length for part in wanted) < len(file) / 3
    for part in reversed(wanted):
        index.feed(part.offset, file[part.offset : part.offset + part.length])
    assert index.complete
    assert index.chunks() == chunks


def test_an_incomplete_index_gives_no_chunks() -> None:
    tree, chunks = tree_of(300)
    index = DagIndex(tree.root, chunks.size)
    with pytest.raises(ValueError, match="not complete"):
        index.chunks()
    assert index.needed_ranges()[0] == ByteRange(0, 4096 + chunks.size // 4096)
    index.feed(7, b"bytes of a part that was not wanted")
    learn(index, car_of(tree))
    assert index.chunks() == chunks
    assert index.chunks() != ChunkList()


@pytest.mark.parametrize("count", [0, 1, 2, 3000])
def test_the_chunks_of_a_file_are_read_from_its_whole_car(count: int) -> None:
    tree, chunks = tree_of(count)
    file = car_of(tree)
    reads: list[int] = []

    def read(offset: int, length: int) -> bytes:
        reads.append(offset)
        return file[offset : offset + length]

    assert read_chunk_list(tree.root, chunks.size, read) == chunks
    assert bool(reads) is (tree.root.codec is not Codec.RAW)


@pytest.mark.parametrize(
    "damage", [lambda file: file[:-1], lambda file: file + b"\0", lambda _: b""]
)
def test_a_car_that_is_cut_or_longer_is_refused(damage: Callable[[bytes], bytes]) -> None:
    tree, chunks = tree_of(3000)
    file = damage(car_of(tree))
    with pytest.raises(IndexMismatch):
        read_chunk_list(tree.root, chunks.size, lambda at, length: file[at : at + length])
