"""An index whose nodes come by their names: some of them, or all, in place of a mirror's file."""

from __future__ import annotations

import pytest

from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.leaf_level import InvalidDag
from tests.fakes.trees import car_of, learn, tree_of

TREE, CHUNKS = tree_of(3000)
NODES = dict(TREE.nodes)


def given(outline: DagIndex, most: int = 10_000) -> int:
    """Give an outline what it names until it wants no more; return how many nodes that took."""
    count = 0
    while count < most and (name := next(outline.next_cids(), None)) is not None:
        assert outline.add_block(name, NODES[name])
        count += 1
    return count


def test_a_list_can_be_had_from_nodes_alone_each_asked_for_once() -> None:
    outline = DagIndex(TREE.root, CHUNKS.size)
    assert list(outline.next_cids()) == [TREE.root]
    assert given(outline) == len(NODES)
    assert outline.complete
    assert outline.chunks() == CHUNKS


@pytest.mark.parametrize("upper", [0, 1, 2, 5, 40])
@pytest.mark.parametrize("taken", [0, 30, 700, 5000])
def test_nodes_and_a_mirrors_file_go_on_where_the_other_one_stopped(upper: int, taken: int) -> None:
    outline, file = DagIndex(TREE.root, CHUNKS.size), car_of(TREE)
    if taken:
        outline.feed(0, file[:taken])
    given(outline, upper)
    learn(outline, file)
    assert outline.complete
    assert outline.chunks() == CHUNKS


def test_a_level_tells_all_that_can_be_asked_for_at_once() -> None:
    outline = DagIndex(TREE.root, CHUNKS.size)
    levels = 0
    while names := list(outline.next_cids()):
        levels += 1
        for name in names:
            assert outline.add_block(name, NODES[name])
    assert 2 < levels < 6
    assert outline.chunks() == CHUNKS


@pytest.mark.parametrize("above", [0, 1, 4])
def test_a_node_that_is_another_or_not_the_next_one_changes_nothing(above: int) -> None:
    outline = DagIndex(TREE.root, CHUNKS.size)
    given(outline, above)
    names = list(outline.next_cids())
    assert not outline.add_block(names[0], NODES[names[0]] + b"?")
    assert not outline.add_block(names[0], b"")
    assert not outline.add_block(Cid.of(Codec.DAG_PB, b"strange"), b"strange")
    if above < 2:
        assert not any(outline.add_block(name, NODES[name]) for name in names[1:])
    assert list(outline.next_cids()) == names
    given(outline)
    assert outline.chunks() == CHUNKS


def test_a_signed_node_that_is_none_is_refused_by_name_too() -> None:
    trap = Cid.of(Codec.DAG_PB, b"no node")
    with pytest.raises(InvalidDag, match="no list of chunks"):
        DagIndex(trap, 5).add_block(trap, b"no node")
    with pytest.raises(InvalidDag, match="bytes instead of"):
        DagIndex(TREE.root, CHUNKS.size + 1).add_block(TREE.root, NODES[TREE.root])


def test_a_file_of_one_chunk_has_no_nodes_to_ask_for() -> None:
    outline = DagIndex(Cid.of(Codec.RAW, b"all of it"), 9)
    assert not list(outline.next_cids())
    assert not outline.add_block(Cid.of(Codec.RAW, b"all of it"), b"all of it")
    assert outline.complete
