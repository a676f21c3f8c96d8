"""The nodes right above the leaves of a DAG: their offsets in the CAR file, and which are missing.

Above raw leaves the tsize of a link exceeds its size by exactly the length of the node. The
offset of every node of this level is therefore known before one of them was fetched.

A large file has a thousand of them, so they have a fast parser. It accepts only what
``dag_pb.read`` accepts: it guesses the fields by their offsets, encodes the result again and
compares the bytes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from phase_boot.content import car, dag_pb, varint
from phase_boot.content.chunk_list import DIGEST_BYTES, MAX_CHUNKS, ChunkList
from phase_boot.content.cid import CID_BYTES, Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK, MAX_LINKS, BadNode, Link, Node, UnixFsType

Leaf: TypeAlias = tuple[bytes, int]
"""The sha256 and size of a raw block."""
_LINK: Final = 0x12
_CID: Final = b"\x0a\x24\x01\x55\x12\x20"
"""The start of the hash field of a link: a CIDv1 of raw bytes with the sha2-256 that follows."""
_NAMELESS: Final = b"\x12\x00\x18"
_FILE: Final = b"\x08\x02\x18"
_BLOCKSIZE: Final = b"\x20"
_DIGEST: Final = slice(len(_CID) + 2, len(_CID) + 2 + 32)
_SIZE: Final = _DIGEST.stop + len(_NAMELESS)


def parse_leaf_node(block: bytes) -> list[Leaf] | None:
    """Return the leaves of a node that links only leaves, or None for any other block.

    After None the caller uses ``dag_pb.read``, which reports what is wrong.
    """
    leaves, at = list[Leaf](), 0
    try:
        while block[at] == _LINK:
            size, end = varint.decode(block, at + _SIZE)
            leaves.append((block[at + _DIGEST.start : at + _DIGEST.stop], size))
            if not 0 < size <= MAX_BLOCK or len(leaves) > MAX_LINKS:
                return None
            at = end
    except (IndexError, EOFError, ValueError):
        return None
    return leaves if leaves and block == _encode(leaves) else None


def _encode(leaves: list[Leaf]) -> bytes:
    sizes = [varint.encode(size) for _, size in leaves]
    links = b"".join(
        b"".join((b"\x12", bytes((len(_CID) + 35 + len(size),)), _CID, digest, _NAMELESS, size))
        for (digest, _), size in zip(leaves, sizes, strict=True)
    )
    total = varint.encode(sum(size for _, size in leaves))
    content = b"".join((_FILE, total, *(_BLOCKSIZE + size for size in sizes)))
    return b"".join((links, b"\x0a", varint.encode(len(content)), content))


MAX_RANGE: Final = 256 * 1024
"""Bytes of the longest range that is requested at once."""
MAX_GAP: Final = 512
"""Bytes between two needed ranges that are fetched too: a further request costs as many."""
_SIZE_BYTES: Final = 4
"""A size fits into 32 bits: a block has at most 2 MiB."""
_LEAF_BYTES: Final = DIGEST_BYTES + _SIZE_BYTES


class IndexMismatch(ValueError):
    """A source sent other bytes than the index has; ``str`` is one sentence with the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"What arrived is not the signed list of chunks ({reason}): try another source."
        )
        self.reason = reason


class InvalidDag(ValueError):
    """The signed DAG is no valid list of chunks; ``str`` is one sentence with the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The signed DAG is no list of chunks ({reason}): fetch the whole file instead."
        )
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A range of ``dag/<cid>.car``."""

    offset: int
    length: int


@dataclass(slots=True)
class _NodeSlot:
    """A distinct node above the leaves, known by its link."""

    link: Link
    start: int
    """The offset of its section in the CAR file."""
    end: int
    link_count: int = 0
    """How many links point to it."""
    leaves: bytes | None = None
    """The packed sha256 and size of each of its leaves; None until it was read."""


class LeafLevel:
    """All nodes right above the leaves, in the order of the file."""

    def __init__(self, links: list[Link], distinct: dict[Cid, Link], start: int) -> None:
        self._slots: dict[Cid, _NodeSlot] = {}
        for cid, link in distinct.items():
            length = link.tsize - link.size
            if not 0 < length <= MAX_BLOCK:
                raise InvalidDag(f"a node of {length} bytes")
            end = start + len(car.section_header(cid, length)) + length
            self._slots[cid] = _NodeSlot(link, start, end)
            start = end
        self._order = [self._slots[link.cid] for link in links]
        for slot in self._order:
            slot.link_count += 1
        self._by_start = [*self._slots.values()]
        self._starts = [slot.start for slot in self._by_start]
        self._ends = [slot.end for slot in self._by_start]
        self._chunks = 0
        self.end = start
        """The length of the CAR file."""
        self.missing_count = len(self._slots)
        """How many nodes were not read yet."""

    def missing_cids(self) -> Iterator[Cid]:
        """Yield the CIDs of the missing nodes."""
        return (slot.link.cid for slot in self._by_start if slot.leaves is None)

    def needed_ranges(self) -> Iterator[ByteRange]:
        """Yield the ranges to fetch for the missing nodes, in order."""
        start = end = 0
        for slot in self._by_start:
            if slot.leaves is not None:
                continue
            if end and (slot.start > end + MAX_GAP or slot.end > start + MAX_RANGE):
                yield ByteRange(start, end - start)
                end = 0
            start, end = start if end else slot.start, slot.end
        if end:
            yield ByteRange(start, end - start)

    def feed(self, offset: int, data: bytes) -> None:
        """Read the missing nodes in these bytes of the CAR, or raise IndexMismatch."""
        if not self.feed_extra(offset, data):
            raise IndexMismatch("it ends too early")

    def feed_extra(self, offset: int, data: bytes) -> bool:
        """Do the same with unrequested bytes; return whether they hold any node."""
        first = bisect_left(self._starts, offset)
        end = bisect_right(self._ends, offset + len(data))
        for slot in self._by_start[first:end]:
            if slot.leaves is None:
                part = memoryview(data)[slot.start - offset : slot.end - offset]
                block = read_block(part, slot.link.cid)
                if block is None:
                    raise IndexMismatch("a longer node than there is")
                self._store_leaves(slot, block)
        return first < end

    def add_block(self, cid: Cid, block: bytes) -> bool:
        """Add a node that came by its CID; return whether it was missing."""
        slot = self._slots.get(cid)
        if slot is None or slot.leaves is not None or Cid.of(cid.codec, block) != cid:
            return False
        self._store_leaves(slot, block)
        return True

    def chunks(self) -> ChunkList:
        """Return the list of all leaves."""
        chunks = ChunkList()
        for slot in self._order:
            leaves = slot.leaves or b""
            for at in range(0, len(leaves), _LEAF_BYTES):
                size = int.from_bytes(leaves[at + DIGEST_BYTES : at + _LEAF_BYTES], "big")
                chunks.append(leaves[at : at + DIGEST_BYTES], size)
        return chunks

    def _store_leaves(self, slot: _NodeSlot, block: bytes) -> None:
        leaves = parse_leaf_node(block)
        if leaves is None:
            # This raises what is wrong with the node, unless it has nodes among its leaves.
            read_node(block)
            raise InvalidDag("leaves at different depths")
        size = sum(length for _, length in leaves)
        if (size, size + len(block)) != (slot.link.size, slot.link.tsize):
            raise InvalidDag("a link that says other sizes than its node has")
        self._chunks += slot.link_count * len(leaves)
        if self._chunks > MAX_CHUNKS:
            raise InvalidDag(f"more than {MAX_CHUNKS} chunks")
        slot.leaves = b"".join(
            digest + length.to_bytes(_SIZE_BYTES, "big") for digest, length in leaves
        )
        self.missing_count -= 1


def read_node(block: bytes) -> Node:
    """Parse a node whose hash is right, so that any error is one of the signed DAG."""
    try:
        node = dag_pb.read(block, Codec.DAG_PB)
    except BadNode as error:
        raise InvalidDag(error.reason) from None
    if node.data or node.kind is not UnixFsType.FILE:
        raise InvalidDag("bytes outside of its raw blocks")
    return node


def read_block(held: memoryview, cid: Cid) -> bytes | None:
    """Return the block ``cid`` from the section that ``held`` starts with; None if incomplete."""
    try:
        length, start = varint.decode(held)
    except EOFError:
        return None
    except ValueError as error:
        raise IndexMismatch(str(error)) from None
    # Checked before the bytes are awaited, so that a length alone cannot fill the memory.
    if not CID_BYTES < length <= CID_BYTES + MAX_BLOCK:
        raise IndexMismatch(f"a part of {length} bytes")
    name = held[start : start + CID_BYTES]
    if name != bytes(cid)[: len(name)]:
        raise IndexMismatch(f"another block where {cid} belongs")
    if len(held) < start + length:
        return None
    block = bytes(held[start + CID_BYTES : start + length])
    if Cid.of(cid.codec, block) != cid:
        raise IndexMismatch(f"a block is not {cid}")
    return block
