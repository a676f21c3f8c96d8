from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase_boot.content import car, dag_pb
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import Fanout, build_dag
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.leaf_level import MAX_GAP, ByteRange
from tests.fakes.trees import car_of, chunk_list, learn, pieces, tree_of


@settings(deadline=None)
@given(st.lists(st.sampled_from([b"a", b"bc", b"def", b"0" * 70]), max_size=300), st.integers(1, 9))
def test_a_file_comes_back_whatever_repeats_in_it(content: list[bytes], step: int) -> None:
    chunks = chunk_list(content)
    tree = build_dag(chunks, Fanout(min_children=2, one_in=3, max_children=6))
    file, outline = car_of(tree), DagIndex(tree.root, chunks.size)
    while not outline.complete:
        part = outline.needed_ranges()[0]
        known = any(outline.missing_cids())
        length = part.length if known else max(part.length // step // 50, 1)
        outline.feed(part.offset, file[part.offset : part.offset + length])
    assert outline.chunks() == chunks
    assert outline.needed_ranges() == []


def test_a_tree_has_each_node_once_level_by_level() -> None:
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


def test_no_chunk_and_a_single_one_are_their_own_root() -> None:
    for content in ([], [b"one"]):
        chunks = chunk_list(content)
        tree = build_dag(chunks)
        assert (tree.root, tree.nodes) == (Cid.of(Codec.RAW, b"".join(content)), ())
        outline = DagIndex(tree.root, chunks.size)
        assert outline.complete
        assert outline.needed_ranges() == []
        assert outline.chunks() == chunks
        assert list(outline.missing_cids()) == []
        assert not outline.add_block(tree.root, b"one")
        outline.feed(0, b"nothing of this is read")


def test_what_older_versions_have_is_not_fetched() -> None:
    old = pieces(5000)
    new = [*old[:2000], b"new", *old[2001:]]
    before, after = build_dag(chunk_list(old)), build_dag(chunk_list(new))
    at_hand, file = dict(before.nodes), car_of(after)
    outline = DagIndex(after.root, chunk_list(new).size)
    while not list(outline.missing_cids()):
        part = outline.needed_ranges()[0]
        outline.feed(part.offset, file[part.offset : part.offset + part.length])
    lacking = [cid for cid in outline.missing_cids() if cid not in at_hand]
    for cid in list(outline.missing_cids()):
        assert outline.add_block(cid, at_hand.get(cid, b"")) is (cid in at_hand)
        assert not outline.add_block(cid, at_hand.get(cid, b""))
    assert list(outline.missing_cids()) == lacking
    assert len(lacking) < 4
    assert learn(outline, file) < 4 * 64 * 60
    assert outline.chunks() == chunk_list(new)


def test_a_given_node_is_looked_at() -> None:
    tree, chunks = tree_of(300)
    outline = DagIndex(tree.root, chunks.size)
    file = car_of(tree)
    outline.feed(0, file[: len(file) - 1])
    [last] = outline.missing_cids()
    assert not outline.add_block(last, b"other bytes")
    assert list(outline.missing_cids()) == [last]
    assert outline.add_block(last, dict(tree.nodes)[last])
    assert outline.chunks() == chunks


def test_small_gaps_are_fetched_and_large_ones_are_not() -> None:
    tree, chunks = tree_of(4000)
    file = car_of(tree)
    outline = DagIndex(tree.root, chunks.size)
    while not list(outline.missing_cids()):
        part = outline.needed_ranges()[0]
        outline.feed(part.offset, file[part.offset : part.offset + 600])
    dice = random.Random(3)  # noqa: S311 - repeatable, not secret
    nodes = dict(tree.nodes)
    for cid in [cid for cid in outline.missing_cids() if dice.random() < 0.9]:
        outline.add_block(cid, nodes[cid])
    wanted = outline.needed_ranges()
    for one, other in itertools.pairwise(wanted):
        assert other.offset - (one.offset + one.length) > MAX_GAP
    held = b"".join(file[part.offset : part.offset + part.length] for part in wanted)
    assert all(nodes[cid] in held for cid in outline.missing_cids())
    assert sum(part.length for part in wanted) < len(file) / 3
    for part in reversed(wanted):
        outline.feed(part.offset, file[part.offset : part.offset + part.length])
    assert outline.complete
    assert outline.chunks() == chunks


def test_an_index_that_is_not_there_yet_gives_no_chunks() -> None:
    tree, chunks = tree_of(300)
    outline = DagIndex(tree.root, chunks.size)
    with pytest.raises(ValueError, match="not complete"):
        outline.chunks()
    assert outline.needed_ranges()[0] == ByteRange(0, 4096 + chunks.size // 4096)
    outline.feed(7, b"bytes of a part that was not wanted")
    learn(outline, car_of(tree))
    assert outline.chunks() == chunks
    assert outline.chunks() != ChunkList()
