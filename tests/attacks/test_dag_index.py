"""Attacks on the index of a file, by the source that sends it or the publisher that signs it."""

from __future__ import annotations

import pytest

from phase_boot.content import car, dag_pb, varint
from phase_boot.content.chunk_list import MAX_CHUNKS
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_index import MAX_DEPTH, MAX_NODES, DagIndex
from phase_boot.content.dag_pb import MAX_LINKS, Link, Node, UnixFsType
from phase_boot.content.leaf_level import MAX_RANGE, ByteRange, IndexMismatch, InvalidDag
from tests.support.dags import car_of, learn, tree_of

TREE, CHUNKS = tree_of(2000)
FILE = car_of(TREE)
NODES = list(TREE.nodes)
LIES = r"^What arrived is not the signed list of chunks \(.*\): try another source\.$"
TRAPS = r"^The signed DAG is no list of chunks \(.*\): fetch the whole file instead\.$"


def file_of(nodes: list[tuple[Cid, bytes]], root: Cid = TREE.root) -> bytes:
    return b"".join(car.write(root, nodes))


def swapped(one: int, other: int) -> bytes:
    nodes = list(NODES)
    nodes[one], nodes[other] = nodes[other], nodes[one]
    return file_of(nodes)


def torn(at: int, by: bytes) -> bytes:
    return FILE[:at] + by + FILE[at + len(by) :]


HEADER = car.HEADER_BYTES
LAST = len(NODES) - 1


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(swapped(0, 1), id="the root second"),
        pytest.param(swapped(1, 2), id="upper nodes in another order"),
        pytest.param(swapped(LAST - 1, LAST), id="lowest nodes in another order"),
        pytest.param(file_of(NODES[:1] + NODES[2:]), id="an upper node left out"),
        pytest.param(file_of(NODES[:1] + NODES), id="a node twice"),
        pytest.param(file_of([*NODES[:-1], NODES[0]]), id="a node of another place"),
        pytest.param(file_of(NODES, NODES[1][0]), id="another root"),
        pytest.param(FILE[:-1], id="a byte less"),
        pytest.param(FILE[: HEADER - 1], id="half a header"),
        pytest.param(FILE[:HEADER], id="no node"),
        pytest.param(b"", id="nothing"),
        pytest.param(torn(HEADER, b"\x00"), id="padding"),
        pytest.param(torn(HEADER, b"\x80" * 12), id="an endless length"),
        pytest.param(torn(HEADER, b"\x80\x00"), id="a length spelled too long"),
        pytest.param(torn(HEADER, varint.encode(2**62)), id="a node of 2^62 bytes"),
        pytest.param(torn(len(FILE) - 1, b"?"), id="another last byte"),
        pytest.param(torn(HEADER + 60, b"?"), id="another byte in the root"),
        pytest.param(b"<html>" * 9999, id="a page about something else"),
    ],
)
def test_a_wrong_range_costs_one_request_and_spoils_nothing(lie: bytes) -> None:
    index = DagIndex(TREE.root, CHUNKS.size)
    with pytest.raises(IndexMismatch, match=LIES):
        learn(index, lie)
    assert not index.complete
    learn(index, FILE)
    assert index.chunks() == CHUNKS


def test_any_flipped_bit_is_detected_in_its_own_node() -> None:
    tree, chunks = tree_of(14)
    file = car_of(tree)
    for bit in range(8 * len(file)):
        flipped = bytearray(file)
        flipped[bit // 8] ^= 1 << bit % 8
        index = DagIndex(tree.root, chunks.size)
        with pytest.raises(IndexMismatch):
            learn(index, bytes(flipped))
        learn(index, file)
        assert index.chunks() == chunks


def test_data_verified_before_a_wrong_byte_is_not_fetched_again() -> None:
    index = DagIndex(TREE.root, CHUNKS.size)
    index.feed(0, FILE[: HEADER + 1])
    assert index.needed_ranges()[0].offset == HEADER + 1
    with pytest.raises(IndexMismatch):
        index.feed(HEADER + 1, b"\x01" * 99)
    assert index.needed_ranges()[0].offset == HEADER


def test_an_oversized_length_is_refused_before_its_bytes_arrive() -> None:
    index = DagIndex(TREE.root, CHUNKS.size)
    index.feed(0, FILE[:HEADER])
    with pytest.raises(IndexMismatch, match="a part of"):
        index.feed(HEADER, varint.encode(2**40))


class Trap:
    """A DAG of which every hash is right."""

    def __init__(self) -> None:
        self.blocks: dict[Cid, bytes] = {}

    def leaf(self, size: int = 4) -> Link:
        return Link(Cid.of(Codec.RAW, bytes(size)), size, size)

    def node(self, *links: Link, data: bytes = b"", more: int = 0) -> Link:
        node = Node(Codec.DAG_PB, UnixFsType.FILE, data, links)
        block = dag_pb.encode(node)
        cid = Cid.of(Codec.DAG_PB, block)
        self.blocks[cid] = block
        tsize = len(block) + sum(link.tsize for link in links)
        return Link(cid, node.size, tsize + more)

    def file(self, root: Link) -> bytes:
        nodes = [(root.cid, self.blocks[root.cid])]
        for cid, block in nodes:
            for link in dag_pb.read(block, cid.codec).links:
                if link.cid in self.blocks and link.cid not in dict(nodes):
                    nodes.append((link.cid, self.blocks[link.cid]))
        return file_of(nodes, root.cid)


def assert_unusable(trap: Trap, root: Link, why: str) -> None:
    index = DagIndex(root.cid, root.size)
    with pytest.raises(InvalidDag, match=why) as caught:
        learn(index, trap.file(root))
    assert caught.match(TRAPS)
    assert not index.complete


def test_unbounded_nesting_is_refused() -> None:
    trap = Trap()
    link = trap.node(trap.leaf(), trap.leaf(5))
    for _ in range(MAX_DEPTH):
        link = trap.node(link)
    assert_unusable(trap, link, "levels")


def test_exponential_links_are_refused() -> None:
    """Eight blocks of 100 KB would be 2000^8 chunks."""
    trap = Trap()
    link = trap.node(trap.leaf(1))
    while (fan := min(MAX_LINKS, 2**50 // link.tsize)) > 1:
        link = trap.node(*[link] * fan)
    assert link.size > 10**12
    assert_unusable(trap, link, f"more than {MAX_NODES} nodes")


def test_too_many_chunks_are_refused() -> None:
    trap = Trap()
    low = trap.node(*[trap.leaf(1)] * MAX_LINKS)
    root = trap.node(*[low] * (MAX_CHUNKS // MAX_LINKS + 1))
    assert_unusable(trap, root, "chunks")


def test_an_invalid_signed_dag_is_refused() -> None:
    trap = Trap()
    low = trap.node(trap.leaf(), trap.leaf(5))
    for why, root in (
        ("different depths", trap.node(low, trap.leaf())),
        ("different depths", trap.node(trap.leaf(), low)),
        ("different depths", trap.node(trap.node(low), trap.node(trap.leaf(9)))),
        ("different depths", trap.node(trap.node(low), low)),
        ("outside of its raw blocks", trap.node(low, data=b"inline")),
        ("outside of its raw blocks", trap.node(trap.node(trap.leaf(), data=b"inline"))),
        ("outside of its raw blocks", trap.node(data=b"a leaf of dag-pb")),
        ("other sizes", trap.node(trap.node(trap.node(trap.leaf(), trap.leaf(5)), more=1), low)),
        ("other sizes", trap.node(trap.node(low), trap.node(low, low, more=3))),
        ("a node of", trap.node(Link(low.cid, low.size, low.size))),
        ("a node of", trap.node(Link(low.cid, low.size, low.size + 2**22))),
    ):
        assert_unusable(trap, root, why)


def test_a_signed_dag_with_wrong_sizes_or_offsets_is_refused() -> None:
    """The error may blame the source instead of the publisher, but no index is accepted."""
    trap = Trap()
    low = trap.node(trap.leaf(), trap.leaf(5))
    for root in (
        trap.node(low, trap.node(low)),
        trap.node(low, Link(trap.node(trap.leaf(9)).cid, 9, low.tsize)),
        trap.node(Link(low.cid, low.size, low.tsize + 1), low),
    ):
        index = DagIndex(root.cid, root.size)
        with pytest.raises((InvalidDag, IndexMismatch)):
            learn(index, trap.file(root))
        assert not index.complete


def test_a_dag_of_another_size_than_signed_is_refused() -> None:
    trap = Trap()
    root = trap.node(trap.leaf(), trap.leaf(5))
    for size in (8, 10, 2**40):
        with pytest.raises(InvalidDag, match=f"9 bytes instead of {size}"):
            learn(DagIndex(root.cid, size), trap.file(root))
    with pytest.raises(InvalidDag, match="one block"):
        DagIndex(Cid.of(Codec.RAW, b""), 2**40)


def test_an_overflowing_size_is_refused() -> None:
    trap = Trap()
    high = Link(Cid.of(Codec.DAG_PB, b""), 2**62, 2**62 + 1)
    with pytest.raises(dag_pb.BadNode, match="2\\^63"):
        trap.node(high, high)


def test_a_range_is_bounded_whatever_size_a_manifest_states() -> None:
    assert DagIndex(TREE.root, 2**40).needed_ranges() == [ByteRange(0, MAX_RANGE)]
