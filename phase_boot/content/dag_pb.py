"""The dag-pb codec: one node of a UnixFS file, parsed as hostile input.

The DAG of a file has leaves of raw bytes and interior nodes in dag-pb: a protobuf message that
holds another one. Nine fields are needed, and the canonical form gives each one place, so they are
parsed here by hand. A protobuf library would be larger in the seed than this file. It would also
accept fields in any order, repeated or unknown, and then two parsers can see two different files.

Nothing here follows a link: the code that walks a DAG bounds its depth and counts its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import Final, Self

from phase_boot.content import varint
from phase_boot.content.cid import CID_BYTES, Cid, Codec

MAX_BLOCK: Final = 2 * 1024 * 1024
"""Bytes of the largest block: the limit of IPFS nodes."""
MAX_LINKS: Final = 2048
"""Links of the largest node; kubo writes at most 1024."""

# A protobuf tag is a field number and a wire type: 0 is a varint, 2 is length-prefixed bytes.
_NODE_DATA, _NODE_LINK = 0x0A, 0x12
_LINK_HASH, _LINK_NAME, _LINK_TSIZE = 0x0A, 0x12, 0x18
_FILE_TYPE, _FILE_DATA, _FILE_SIZE, _FILE_BLOCKSIZE = 0x08, 0x12, 0x18, 0x20
# Every link starts with a hash of 36 bytes, followed by an empty name.
_LINK_START: Final = bytes((_LINK_HASH, CID_BYTES))
_LINK_MIDDLE: Final = bytes((_LINK_NAME, 0, _LINK_TSIZE))


class BadNode(ValueError):
    """The block is no valid node; the text is one sentence with the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"A block is no node of a file ({reason}): fetch it from another source.")
        self.reason = reason


@unique
class UnixFsType(IntEnum):
    """The UnixFS type of a node; only those of files are supported."""

    RAW = 0
    """A leaf."""
    FILE = 2


@dataclass(frozen=True, slots=True)
class Link:
    """A child: its CID, the bytes of the file below it, and the bytes of all blocks below it.

    Raises:
        BadNode: sizes that are impossible.
    """

    cid: Cid
    size: int
    tsize: int

    def __post_init__(self) -> None:
        # An empty child would allow a small file to have any number of nodes.
        if not 1 <= self.size <= self.tsize < varint.LIMIT:
            raise BadNode(f"a link of {self.size} bytes in blocks of {self.tsize}")
        if self.cid.codec is Codec.RAW and not self.size == self.tsize <= MAX_BLOCK:
            raise BadNode(f"a link to a leaf of {self.size} bytes in a block of {self.tsize}")


@dataclass(frozen=True, slots=True)
class Node:
    """A block of a file: its own bytes first, then those below each link.

    Raises:
        BadNode: too many links or bytes, or a leaf with links.
    """

    codec: Codec
    kind: UnixFsType
    data: bytes
    links: tuple[Link, ...] = ()

    def __post_init__(self) -> None:
        if self.kind is UnixFsType.RAW and self.links:
            raise BadNode("a leaf with links")
        if self.codec is Codec.RAW and self.kind is not UnixFsType.RAW:
            raise BadNode("raw bytes that are no leaf")
        if len(self.links) > MAX_LINKS:
            raise BadNode(f"more than {MAX_LINKS} links")
        if self.size >= varint.LIMIT:
            raise BadNode("a file of 2^63 bytes or more")

    @classmethod
    def leaf(cls, data: bytes) -> Self:
        """Return the leaf that holds ``data``."""
        return cls(Codec.RAW, UnixFsType.RAW, data)

    @classmethod
    def file(cls, links: tuple[Link, ...]) -> Self:
        """Return the node that joins ``links``."""
        return cls(Codec.DAG_PB, UnixFsType.FILE, b"", links)

    @property
    def size(self) -> int:
        """Bytes of the file in and below this node."""
        return len(self.data) + sum(link.size for link in self.links)


def read(block: bytes, codec: Codec) -> Node:
    """Parse ``block``. Its hash is not checked here; the caller has verified it.

    Raises:
        BadNode: larger than 2 MiB, or anything but the canonical form of a file's node.
    """
    if len(block) > MAX_BLOCK:
        raise BadNode(f"larger than {MAX_BLOCK} bytes")
    if codec is Codec.RAW:
        return Node.leaf(block)
    message = _Message(block)
    links: list[tuple[Cid, int]] = []
    while message.has(_NODE_LINK):
        if len(links) == MAX_LINKS:
            raise BadNode(f"more than {MAX_LINKS} links")
        links.append(_link(message.field(_NODE_LINK)))
    content = message.field(_NODE_DATA)
    message.finish()
    return _file(_Message(content), links)


def encode(node: Node) -> bytes:
    """Return the block of ``node``.

    Raises:
        BadNode: it would be larger than 2 MiB.
    """
    if node.codec is Codec.RAW:
        block = node.data
    else:
        links = b"".join(_encode_field(_NODE_LINK, _link_block(link)) for link in node.links)
        block = links + _encode_field(_NODE_DATA, _file_block(node))
    if len(block) > MAX_BLOCK:
        raise BadNode(f"larger than {MAX_BLOCK} bytes")
    return block


class _Message:
    """A protobuf message whose fields are read in their canonical order."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def has(self, tag: int) -> bool:
        """Return whether the next field is ``tag``. All tags here are one byte."""
        return self._at < len(self._data) and self._data[self._at] == tag

    def number(self, tag: int) -> int:
        """Read the field ``tag``, a varint."""
        if not self.has(tag):
            raise BadNode(f"no field {tag >> 3} where it belongs")
        try:
            number, self._at = varint.decode(self._data, self._at + 1)
        except (EOFError, ValueError) as error:
            raise BadNode(str(error)) from None
        return number

    def field(self, tag: int) -> bytes:
        """Read the field ``tag``, length-prefixed bytes."""
        length = self.number(tag)
        start, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise BadNode("a field that is longer than the block")
        return self._data[start : self._at]

    def finish(self) -> None:
        """Refuse remaining bytes: a field out of order, repeated, or unknown."""
        if self._at != len(self._data):
            raise BadNode(f"an unexpected field after {self._at} bytes")


def _link(data: bytes) -> tuple[Cid, int]:
    middle = len(_LINK_START) + CID_BYTES
    end = middle + len(_LINK_MIDDLE)
    if not data.startswith(_LINK_START) or data[middle:end] != _LINK_MIDDLE:
        raise BadNode("a link that is not a CID, an empty name and a size")
    try:
        cid = Cid.from_bytes(data[len(_LINK_START) : middle])
        tsize, used = varint.decode(data, end)
    except (EOFError, ValueError) as error:
        raise BadNode(str(error)) from None
    if used != len(data):
        raise BadNode("a link with more than a CID, an empty name and a size")
    return cid, tsize


def _file(message: _Message, links: list[tuple[Cid, int]]) -> Node:
    kind = message.number(_FILE_TYPE)
    if kind not in tuple(UnixFsType):
        raise BadNode(f"no file, but UnixFS type {kind}")
    data = b""
    if message.has(_FILE_DATA):
        data = message.field(_FILE_DATA)
        if not data:
            raise BadNode("a field of no bytes, which is left out")
    total = message.number(_FILE_SIZE)
    # One blocksize for each link: a list of another length fails here or in ``finish``.
    sizes = [message.number(_FILE_BLOCKSIZE) for _ in links]
    message.finish()
    children = (Link(cid, size, tsize) for (cid, tsize), size in zip(links, sizes, strict=True))
    node = Node(Codec.DAG_PB, UnixFsType(kind), data, tuple(children))
    if node.size != total:
        raise BadNode(f"{node.size} bytes that are said to be {total}")
    return node


def _link_block(link: Link) -> bytes:
    return _LINK_START + bytes(link.cid) + _LINK_MIDDLE + varint.encode(link.tsize)


def _file_block(node: Node) -> bytes:
    return b"".join(
        (
            bytes((_FILE_TYPE, node.kind)),
            _encode_field(_FILE_DATA, node.data) if node.data else b"",
            bytes((_FILE_SIZE,)) + varint.encode(node.size),
            *(bytes((_FILE_BLOCKSIZE,)) + varint.encode(link.size) for link in node.links),
        )
    )


def _encode_field(tag: int, data: bytes) -> bytes:
    return bytes((tag,)) + varint.encode(len(data)) + data
