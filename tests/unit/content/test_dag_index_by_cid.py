"""A DAG index whose nodes come by CID, as from a gateway, alone or mixed with ranges."""

from __future__ import annotations

import pytest

from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.leaf_level import InvalidDag
from tests.support.dags import car_of, learn, tree_of

TREE, CHUNKS = tree_of(3000)
NODES = dict(TREE.nodes)


def given(index: DagIndex, most: int = 10_000) -> int:
    """Give an index what it names until it wants no more; return how many nodes that took."""
    count = 0
    while count < most and (name := next(index.next_cids(), None)) is not None:
        assert index.add_block(name, NODES[name])
        count += 1
    return count


def test_a_list_is_built_from_blocks_alone_each_requested_once() -> None:
    index = DagIndex(TREE.root, CHUNKS.size)
    assert list(index.next_cids()) == [TREE.root]
    assert given(index) == len(NODES)
    assert index.complete
    assert index.chunks() == CHUNKS


@pytest.mark.parametrize("upper", [0, 1, 2, 5, 40])
@pytest.mark.parametrize("taken", [0, 30, 700, 5000])
def test_blocks_and_ranges_continue_one_another(upper: int, taken: int) -> None:
    index, file = DagIndex(TREE.root, CHUNKS.size), car_of(TREE)
    if taken:
        index.feed(0, file[:taken])
    given(index, upper)
    learn(index, file)
    assert index.complete
    assert index.chunks() == CHUNKS


def test_a_level_lists_all_cids_that_can_be_requested_at_once() -> None:
    index = DagIndex(TREE.root, CHUNKS.size)
    levels = 0
    while names := list(index.next_cids()):
        levels += 1
        for name in names:
            assert index.add_block(name, NODES[name])
    assert 2 < levels < 6
    assert index.chunks() == CHUNKS


@pytest.mark.parametrize("above", [0, 1, 4])
def test_a_wrong_or_unexpected_block_changes_nothing(above: int) -> None:
    index = DagIndex(TREE.root, CHUNKS.size)
    given(index, above)
    names = list(index.next_cids())
    assert not index.add_block(names[0], NODES[names[0]] + b"?")
    assert not index.add_block(names[0], b"")
    assert not index.add_block(Cid.of(Codec.DAG_PB, b"strange"), b"strange")
    if above < 2:
        assert not any(index.add_block(name, NODES[name]) for name in names[1:])
    assert list(index.next_cids()) == names
    given(index)
    assert index.chunks() == CHUNKS


def test_an_invalid_signed_node_is_refused_by_cid_too() -> None:
    trap = Cid.of(Codec.DAG_PB, b"no node")
    with pytest.raises(InvalidDag, match="no list of chunks"):
        DagIndex(trap, 5).add_block(trap, b"no node")
    with pytest.raises(InvalidDag, match="bytes instead of"):
        DagIndex(TREE.root, CHUNKS.size + 1).add_block(TREE.root, NODES[TREE.root])


def test_a_file_of_one_chunk_has_no_nodes_to_request() -> None:
    index = DagIndex(Cid.of(Codec.RAW, b"all of it"), 9)
    assert not list(index.next_cids())
    assert not index.add_block(Cid.of(Codec.RAW, b"all of it"), b"all of it")
    assert index.complete
