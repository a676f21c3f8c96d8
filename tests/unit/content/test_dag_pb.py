from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content import dag_pb, varint
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK, MAX_LINKS, BadNode, Link, Node, UnixFsType

LEAF = Cid.of(Codec.RAW, b"leaf")
INNER = Cid.of(Codec.DAG_PB, b"inner")


def link_to_node(size: int, tsize: int) -> Link:
    return Link(INNER, size, tsize)


leaves = st.integers(1, MAX_BLOCK).map(lambda size: Link(LEAF, size, size))
inner = st.tuples(st.integers(1, 2**55), st.integers(0, 2**55)).map(
    lambda sizes: Link(INNER, sizes[0], sum(sizes))
)
nodes = (
    st.builds(Node.leaf, st.binary(max_size=50))
    | st.builds(Node, st.just(Codec.DAG_PB), st.just(UnixFsType.RAW), st.binary(max_size=50))
    | st.builds(
        Node,
        st.just(Codec.DAG_PB),
        st.just(UnixFsType.FILE),
        st.binary(max_size=50),
        st.lists(leaves | inner, max_size=5).map(tuple),
    )
)


@given(nodes)
def test_an_encoded_node_round_trips(node: Node) -> None:
    assert dag_pb.read(dag_pb.encode(node), node.codec) == node


@given(nodes, st.binary(max_size=80))
def test_an_accepted_block_is_canonical(node: Node, tail: bytes) -> None:
    for block in (dag_pb.encode(node) + tail, tail, dag_pb.encode(node)[: len(tail)]):
        try:
            found = dag_pb.read(block, Codec.DAG_PB)
        except BadNode:
            continue
        assert dag_pb.encode(found) == block


@given(st.integers(0, varint.LIMIT - 1), st.binary(max_size=3))
def test_a_varint_has_one_encoding(number: int, tail: bytes) -> None:
    spelled = varint.encode(number)
    assert varint.decode(b"x" + spelled + tail, 1) == (number, 1 + len(spelled))


@pytest.mark.parametrize("number", [-1, varint.LIMIT])
def test_a_number_out_of_range_is_not_encoded(number: int) -> None:
    with pytest.raises(ValueError, match="2\\^63"):
        varint.encode(number)


def test_the_node_of_an_empty_file_is_the_one_that_ipfs_has() -> None:
    block = bytes.fromhex("0a0408021800")
    assert dag_pb.encode(Node.file(())) == block
    assert str(Cid.of(Codec.DAG_PB, block)) == (
        "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y"
    )


def test_the_limits_themselves_are_allowed() -> None:
    widest = Node.file((Link(LEAF, MAX_BLOCK, MAX_BLOCK),) * MAX_LINKS)
    assert dag_pb.read(dag_pb.encode(widest), Codec.DAG_PB).size == MAX_LINKS * MAX_BLOCK
    assert dag_pb.read(bytes(MAX_BLOCK), Codec.RAW).size == MAX_BLOCK
    largest = Node.file((link_to_node(varint.LIMIT - 1, varint.LIMIT - 1),))
    assert dag_pb.read(dag_pb.encode(largest), Codec.DAG_PB) == largest


def test_an_invalid_node_cannot_be_constructed() -> None:
    with pytest.raises(BadNode, match="larger"):
        dag_pb.encode(Node.leaf(bytes(MAX_BLOCK + 1)))
    with pytest.raises(BadNode, match="larger"):
        dag_pb.encode(Node(Codec.DAG_PB, UnixFsType.FILE, bytes(MAX_BLOCK)))
    with pytest.raises(BadNode, match="leaf with links"):
        Node(Codec.DAG_PB, UnixFsType.RAW, b"", (Link(LEAF, 1, 1),))
    with pytest.raises(BadNode, match="no leaf"):
        Node(Codec.RAW, UnixFsType.FILE, b"")
    with pytest.raises(BadNode, match="links"):
        Node.file((Link(LEAF, 1, 1),) * (MAX_LINKS + 1))


@pytest.mark.parametrize(
    ("cid", "size", "tsize"),
    [
        (LEAF, 0, 0),
        (LEAF, 5, 4),
        (LEAF, 4, 5),
        (LEAF, MAX_BLOCK + 1, MAX_BLOCK + 1),
        (INNER, 0, 9),
        (INNER, 9, 8),
        (INNER, 1, varint.LIMIT),
    ],
)
def test_impossible_link_sizes_are_refused(cid: Cid, size: int, tsize: int) -> None:
    with pytest.raises(BadNode, match="a link"):
        Link(cid, size, tsize)
