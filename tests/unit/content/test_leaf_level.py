"""The fast parser of leaf nodes agrees with dag_pb.read on every input."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content import dag_pb
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK, MAX_LINKS, BadNode, Link, Node
from phase_boot.content.digest import Digest
from phase_boot.content.leaf_level import parse_leaf_node

LEAVES = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.integers(1, MAX_BLOCK)),
    min_size=1,
    max_size=6,
)


def node_over(leaves: list[tuple[bytes, int]]) -> bytes:
    links = (Link(Cid(Codec.RAW, Digest(sha256.hex())), size, size) for sha256, size in leaves)
    return dag_pb.encode(Node.file(tuple(links)))


def read_by_itself(block: bytes) -> list[tuple[bytes, int]] | None:
    """The leaves of a node of nothing else."""
    try:
        node = dag_pb.read(block, Codec.DAG_PB)
    except BadNode:
        return None
    plain = node.kind is dag_pb.UnixFsType.FILE and not node.data and node.links
    if not plain or any(link.cid.codec is not Codec.RAW for link in node.links):
        return None
    return [(bytes.fromhex(link.cid.digest.hex), link.size) for link in node.links]


@given(LEAVES)
def test_leaves_are_returned_in_order(leaves: list[tuple[bytes, int]]) -> None:
    assert parse_leaf_node(node_over(leaves)) == leaves


@given(LEAVES, st.data())
def test_a_changed_node_is_read_as_dag_pb_reads_it_or_not_at_all(
    leaves: list[tuple[bytes, int]], data: st.DataObject
) -> None:
    block = bytearray(node_over(leaves))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(block) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "end"])):
            case "flip":
                block[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut" if len(block) > 1:
                del block[at]
            case "insert":
                block.insert(at, data.draw(st.integers(0, 255)))
            case _:
                block = block[: max(1, at)]
    assert parse_leaf_node(bytes(block)) == read_by_itself(bytes(block))


@given(st.binary(max_size=200))
def test_other_bytes_are_no_leaf_node(block: bytes) -> None:
    assert parse_leaf_node(block) == read_by_itself(block)


def test_too_many_links_are_refused() -> None:
    most = [(bytes(32), 1)] * MAX_LINKS
    block = node_over(most)
    assert parse_leaf_node(block) == most
    assert parse_leaf_node(block[:45] + block) is None


def test_a_node_among_the_leaves_is_refused() -> None:
    cid = Cid(Codec.DAG_PB, Digest("0" * 64))
    assert parse_leaf_node(dag_pb.encode(Node.file((Link(cid, 5, 50),)))) is None
