"""Attacks by a source of blocks, nodes and CAR files."""

from __future__ import annotations

from io import BytesIO

import pytest

from phase_boot.content import car, dag_pb, varint
from phase_boot.content.car import MAX_HEADER, BadCar
from phase_boot.content.cid import CID_BYTES, Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK, MAX_LINKS, BadNode, Link, Node

LEAF = Cid.of(Codec.RAW, b"leaf")
INNER = Cid.of(Codec.DAG_PB, b"inner")
LIMIT = 10 * MAX_BLOCK


def field(tag: int, data: bytes) -> bytes:
    return bytes((tag,)) + varint.encode(len(data)) + data


def number(tag: int, value: int) -> bytes:
    return bytes((tag,)) + varint.encode(value)


def link(cid: bytes = bytes(LEAF), name: bytes = b"\x12\x00", tsize: int = 4) -> bytes:
    return field(0x12, field(0x0A, cid) + name + number(0x18, tsize))


def file(*sizes: int, total: int | None = None, kind: int = 2, data: bytes = b"") -> bytes:
    size = sum(sizes) + len(data) if total is None else total
    body = number(0x08, kind) + (field(0x12, data) if data else b"") + number(0x18, size)
    return field(0x0A, body + b"".join(number(0x20, each) for each in sizes))


def test_each_forged_node_differs_from_a_valid_one_in_one_thing() -> None:
    node = dag_pb.read(link() + link(bytes(INNER), tsize=90) + file(4, 80), Codec.DAG_PB)
    assert node == Node.file((Link(LEAF, 4, 4), Link(INNER, 80, 90)))


SHORT = 2**63 - 4


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(link() + file(4, total=5), id="more bytes than there are"),
        pytest.param(link() + file(4, total=3), id="fewer bytes than there are"),
        pytest.param(file(total=1), id="bytes from nowhere"),
        pytest.param(file(data=b"abc", total=2), id="fewer bytes than its own"),
        pytest.param(link() + file(), id="a link without a size"),
        pytest.param(link() + file(4, 4), id="a size without a link"),
        pytest.param(link() + file(5), id="another size than the leaf's block"),
        pytest.param(link(bytes(INNER), tsize=3) + file(4), id="a child larger than its blocks"),
        pytest.param(link(tsize=0) + file(0), id="a leaf of no bytes"),
        pytest.param(link(bytes(INNER), tsize=9) + file(0), id="a child of no bytes"),
        pytest.param(link(tsize=MAX_BLOCK + 1) + file(MAX_BLOCK + 1), id="a leaf of too many"),
        pytest.param(link(bytes(INNER), tsize=SHORT) * 2 + file(SHORT, SHORT, total=0), id="2^64"),
        pytest.param(link() * (MAX_LINKS + 1) + file(*[4] * (MAX_LINKS + 1)), id="many links"),
        pytest.param(link(name=field(0x12, b"name")) + file(4), id="a named link"),
        pytest.param(link(name=b"") + file(4), id="a link without even an empty name"),
        pytest.param(link(cid=b"\x12\x20" + bytes(32)) + file(4), id="a CID of version 0"),
        pytest.param(link(cid=b"\x01\x55\x00\x04leaf") + file(4), id="an identity hash"),
        pytest.param(
            link(cid=b"\x01\x55\x00\x20" + bytes(32)) + file(4), id="an identity hash of 32 bytes"
        ),
        pytest.param(
            link(cid=b"\x01\x71\x12\x20" + bytes(32)) + file(4), id="a child of another codec"
        ),
        pytest.param(file(4) + link(), id="links after the data, as old nodes have them"),
        pytest.param(link() + file(4) + file(4), id="data twice"),
        pytest.param(link() + file(4) + b"\0", id="a byte more"),
        pytest.param(link() + file(4) + b"\x1a\x00", id="an unknown field"),
        pytest.param(link() + file(4)[:-1], id="a byte less"),
        pytest.param(link()[:20], id="a link cut"),
        pytest.param(link(), id="no data"),
        pytest.param(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", id="a field of 2^63 bytes"),
        pytest.param(b"\x0a" + b"\xff" * 10**5, id="an endless number"),
        pytest.param(b"\x0a\x84\x00\x08\x02\x18\x00", id="a length spelled too long"),
        pytest.param(b"\x0a\x05\x08\x82\x00\x18\x00", id="a type spelled too long"),
        pytest.param(file(kind=1), id="a folder"),
        pytest.param(file(kind=4, data=b"/etc/passwd"), id="a symbolic link"),
        pytest.param(file(kind=5), id="a sharded folder"),
        pytest.param(link() + file(4, kind=0), id="a leaf with links"),
        pytest.param(field(0x0A, b"\x08\x02\x12\x00\x18\x00"), id="data of no bytes"),
        pytest.param(field(0x0A, b"\x08\x02"), id="no size"),
        pytest.param(field(0x0A, b"\x18\x00\x08\x02"), id="fields out of order"),
        pytest.param(field(0x0A, b"\x08\x02\x08\x02\x18\x00"), id="the type twice"),
        pytest.param(field(0x0A, b"\x08\x02\x18\x00\x28\x12"), id="a hash type"),
        pytest.param(field(0x0A, b"\x08\x02\x18\x00\x38\xa4\x03"), id="a file mode"),
        pytest.param(link() + field(0x0A, b"\x08\x02\x18\x04\x22\x01\x04"), id="packed sizes"),
        pytest.param(field(0x0A, b"\x0d\0\0\0\0"), id="a fixed number"),
        pytest.param(field(0x0A, b"\x0b\x0c"), id="a group"),
        pytest.param(link(tsize=4)[:-2] + b"\x18\x84\x00" + file(4), id="a size that runs over"),
        pytest.param(
            field(0x12, field(0x0A, bytes(LEAF)) + b"\x12\x00\x18\x84\x00") + file(4),
            id="a link's size spelled too long",
        ),
        pytest.param(
            field(0x12, field(0x0A, bytes(LEAF)) + b"\x12\x00\x18\x04\x00") + file(4),
            id="a link with a byte more",
        ),
        pytest.param(
            field(0x12, field(0x0A, bytes(LEAF)) + b"\x12\x00\x18") + file(4),
            id="a link without its size",
        ),
        pytest.param(bytes(MAX_BLOCK + 1), id="more than 2 MiB"),
    ],
)
def test_a_forged_or_ambiguous_node_is_refused(block: bytes) -> None:
    with pytest.raises(BadNode, match=r"^A block is no node .*: fetch it from another source\.$"):
        dag_pb.read(block, Codec.DAG_PB)


def test_a_raw_block_that_is_too_large() -> None:
    with pytest.raises(BadNode, match="larger"):
        dag_pb.read(bytes(MAX_BLOCK + 1), Codec.RAW)


def test_nesting_in_a_block_is_never_followed() -> None:
    """A million messages inside one another are one field with bytes in it."""
    nested = b"\x0a\x00"
    while len(nested) < MAX_BLOCK - 10:
        nested = field(0x0A, nested) if len(nested) < 10**5 else nested + b"\x0a\x00" * 10**6
    for block in (nested[:MAX_BLOCK], b"\x0a\x7f" * 10**6, b"\x0b" * 10**6):
        with pytest.raises(BadNode):
            dag_pb.read(block, Codec.DAG_PB)


def test_a_chain_of_nodes_is_read_one_by_one() -> None:
    """Nodes name their children by hash, so no chain is a circle, and none is followed here."""
    below = Link(LEAF, 1, 1)
    for _ in range(1000):
        block = dag_pb.encode(Node.file((below,)))
        assert dag_pb.read(block, Codec.DAG_PB).links == (below,)
        below = Link(Cid.of(Codec.DAG_PB, block), 1, below.tsize + len(block))


HEADER = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + bytes(LEAF) + b"\x67version\x01"


def section(data: bytes) -> bytes:
    return varint.encode(len(data)) + data


def good() -> bytes:
    return section(HEADER) + section(bytes(LEAF) + b"leaf")


def test_each_forged_car_differs_from_a_valid_one_in_one_thing() -> None:
    assert list(car.blocks(good(), limit=len(good()))) == [(LEAF, b"leaf")]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"\xa1\x67version\x02", id="version 2"),
        pytest.param(HEADER[:-1] + b"\x02", id="version 2 with roots"),
        pytest.param(HEADER[:-1] + b"\x18\x01", id="a number spelled too long"),
        pytest.param(b"\xa2\x67version\x01" + HEADER[1:-9], id="keys out of order"),
        pytest.param(b"\xbf" + HEADER[1:] + b"\xff", id="a map without a length"),
        pytest.param(b"\xa2\x65roots\x80\x67version\x01", id="no root"),
        pytest.param(b"\xa2\x65roots\x82" + HEADER[8:49] * 2 + b"\x67version\x01", id="two roots"),
        pytest.param(b"\xa3" + HEADER[1:] + b"\x61a\x01", id="another key"),
        pytest.param(HEADER.replace(b"\x58\x25\x00", b"\x58\x25\x01"), id="no multibase prefix"),
        pytest.param(HEADER.replace(b"\xd8\x2a", b"\xd8\x2b"), id="another tag"),
        pytest.param(HEADER.replace(b"\x01\x55\x12", b"\x01\x55\x00"), id="an identity hash"),
        pytest.param(HEADER.replace(b"\x01\x55\x12", b"\x01\x71\x12"), id="a root of dag-cbor"),
        pytest.param(HEADER + b"\0", id="a byte more"),
        pytest.param(b"\x9f" * MAX_HEADER, id="deep nesting"),
        pytest.param(bytes(MAX_HEADER + 1), id="a large header"),
        pytest.param(b"", id="no header"),
    ],
)
def test_a_header_other_than_the_canonical_form_is_refused(header: bytes) -> None:
    with pytest.raises(BadCar):
        list(car.blocks(section(header) + section(bytes(LEAF) + b"leaf"), limit=LIMIT))


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(section(bytes(LEAF) + b"leaF"), id="other bytes"),
        pytest.param(section(bytes(LEAF)), id="no bytes"),
        pytest.param(section(bytes(INNER) + b"leaf"), id="another name"),
        pytest.param(section(b"\x01\x55\x00\x04leaf" + bytes(40)), id="an identity hash"),
        pytest.param(section(b"\x01\x55\x00\x20" + bytes(32)), id="an identity hash of 32 bytes"),
        pytest.param(section(b"\x12\x20" + bytes(40)), id="a CID of version 0"),
        pytest.param(section(bytes(LEAF)[:-1]), id="less than a CID"),
        pytest.param(b"\0", id="padding"),
        pytest.param(b"\x80" * 20, id="an endless length"),
        pytest.param(b"\xa8\x00" + bytes(LEAF) + b"leaf", id="a length spelled too long"),
        pytest.param(varint.encode(CID_BYTES + MAX_BLOCK + 1), id="a block larger than 2 MiB"),
        pytest.param(varint.encode(2**63 - 1), id="a block of 2^63 bytes"),
        pytest.param(b"\x28", id="only a length"),
        pytest.param(b"\xa8", id="half a length"),
        pytest.param(section(bytes(LEAF) + b"leaf")[:-1], id="a torn end"),
    ],
)
def test_an_invalid_tail_does_not_affect_the_blocks_before_it(tail: bytes) -> None:
    seen: list[tuple[Cid, bytes]] = []
    with pytest.raises(BadCar, match=r"^A CAR file is not usable .*\.$"):
        seen.extend(car.blocks(good() + tail, limit=LIMIT))
    assert seen == [(LEAF, b"leaf")]


@pytest.mark.parametrize("size", [0, 1, 30, len(section(HEADER)) + 5, len(good()) - 1])
def test_a_truncated_car_is_refused(size: int) -> None:
    raw = good()[:size]
    with pytest.raises(BadCar, match="too early"):
        list(car.blocks(raw, limit=LIMIT))


class Endless:
    """A source that never stops, and says how much was taken from it."""

    def __init__(self, piece: bytes) -> None:
        self.piece = piece
        self.taken = 0

    def read(self, size: int) -> bytes:
        piece = self.piece[:size] if self.taken else section(HEADER)
        self.taken += len(piece)
        return piece


def test_an_endless_car_is_read_up_to_the_limit_only() -> None:
    source = Endless(section(bytes(LEAF) + b"leaf") * 1000)
    with pytest.raises(BadCar, match="more than 100000 bytes"):
        list(car.blocks(source, limit=100_000))
    assert source.taken < 200_000


def test_a_length_alone_allocates_no_memory() -> None:
    reader = car.CarReader(limit=2**63)
    reader.feed(section(HEADER) + varint.encode(2**40))
    with pytest.raises(BadCar, match="a part of"):
        reader.next_block()


def test_any_flipped_bit_of_a_car_is_detected() -> None:
    raw = good()
    for bit in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = list(car.blocks(BytesIO(flipped), limit=LIMIT))
        except BadCar:
            continue
        # The root is only a claim of the file: the client knows which root it requested.
        assert found == [(LEAF, b"leaf")]
        assert flipped[-41:] == raw[-41:]
