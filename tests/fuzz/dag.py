"""Nodes of files, as raw blocks and as dag-pb."""

from __future__ import annotations

from phase_boot.content import dag_pb, varint
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK, MAX_LINKS, BadNode, Link, Node, UnixFsType
from tests.fuzz.target import Target


def one(data: bytes) -> None:
    for codec in Codec:
        try:
            node = dag_pb.read(data, codec)
        except BadNode:
            continue
        assert dag_pb.encode(node) == data
        assert 0 <= node.size < varint.LIMIT
        assert len(node.links) <= MAX_LINKS
        assert all(1 <= link.size <= min(link.tsize, node.size) for link in node.links)


_LEAF = Link(Cid.of(Codec.RAW, b"leaf"), 4, 4)
_INNER = Link(Cid.of(Codec.DAG_PB, b"inner"), 1000, 1300)
_LARGEST = Link(_INNER.cid, varint.LIMIT - 1, varint.LIMIT - 1)
_LEAVES = Link(Cid.of(Codec.RAW, b"chunk"), MAX_BLOCK, MAX_BLOCK)

TARGET = Target(
    one=one,
    starts={
        "empty": dag_pb.encode(Node.file(())),
        "two-links": dag_pb.encode(Node.file((_LEAF, _INNER))),
        "largest": dag_pb.encode(Node.file((_LARGEST,))),
        "data": dag_pb.encode(Node(Codec.DAG_PB, UnixFsType.FILE, b"hello")),
        "data-and-link": dag_pb.encode(Node(Codec.DAG_PB, UnixFsType.FILE, b"hello", (_LEAF,))),
        "raw": dag_pb.encode(Node(Codec.DAG_PB, UnixFsType.RAW, b"hello")),
        "wide": dag_pb.encode(Node.file((_LEAVES,) * 300)),
        "folder": bytes.fromhex("0a020801"),
    },
    max_len=32 * 1024,
    words=(
        b"\x0a\x24\x01\x55\x12\x20",
        b"\x0a\x24\x01\x70\x12\x20",
        b"\x12\x00\x18",
        b"\x08\x02\x18",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ),
)
