"""The lowest nodes over a file: where a mirror's list has each, and what is missing of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from phase_boot.content import car, dag_pb, varint
from phase_boot.content.chunk_list import DIGEST_BYTES, MAX_CHUNKS, ChunkList
from phase_boot.content.cid import CID_BYTES, Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK, BadNode, Kind, Link, Node
from phase_boot.content.leaf_node import parse_leaf_node

MAX_RANGE: Final = 256 * 1024
"""Bytes that are wanted in one piece."""
MAX_GAP: Final = 512
"""Bytes between two wanted pieces that are taken with them: one request more has as many."""
_SIZE_BYTES: Final = 4
"""A leaf's size is below 2^32: a block has 2 MiB at most."""
_LEAF_BYTES: Final = DIGEST_BYTES + _SIZE_BYTES


class IndexMismatch(ValueError):
    """A source gave other bytes than the index has; ``str`` is one sentence with the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"What arrived is not the signed list of chunks ({reason}): try another source."
        )
        self.reason = reason


class InvalidDag(ValueError):
    """The signed DAG is no list of chunks, whoever sends it; ``str`` says what helps."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The signed DAG is no list of chunks ({reason}): fetch the whole file instead."
        )
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes of ``dag/<cid>.car``."""

    offset: int
    length: int


@dataclass(slots=True)
class _NodeSlot:
    """A distinct node above the leaves."""

    link: Link
    start: int
    """Where the CAR has it, with what stands before it."""
    end: int
    times: int = 0
    """How often it is linked."""
    leaves: bytes | None = None
    """The sha256 and size of each of its leaves, once it was read."""


class LeafLevel:
    """The nodes above the leaves, each in its place."""

    def __init__(self, links: list[Link], distinct: dict[Cid, Link], start: int) -> None:
        self._places: dict[Cid, _NodeSlot] = {}
        for cid, link in distinct.items():
            length = link.tsize - link.size
            if not 0 < length <= MAX_BLOCK:
                raise InvalidDag(f"a node of {length} bytes")
            end = start + len(car.section_header(cid, length)) + length
            self._places[cid] = _NodeSlot(link, start, end)
            start = end
        self._order = [self._places[link.cid] for link in links]
        for place in self._order:
            place.times += 1
        self._by_start = [*self._places.values()]
        self._starts = [place.start for place in self._by_start]
        self._ends = [place.end for place in self._by_start]
        self._chunks = 0
        self.end = start
        """Where the CAR ends."""
        self.missing_count = len(self._places)
        """How many nodes are known by name only."""

    def missing_cids(self) -> Iterator[Cid]:
        """Yield the names of the missing nodes."""
        return (place.link.cid for place in self._by_start if place.leaves is None)

    def needed_ranges(self) -> Iterator[ByteRange]:
        """Yield what to fetch for the missing nodes, in order."""
        start = end = 0
        for place in self._by_start:
            if place.leaves is not None:
                continue
            if end and (place.start > end + MAX_GAP or place.end > start + MAX_RANGE):
                yield ByteRange(start, end - start)
                end = 0
            start, end = start if end else place.start, place.end
        if end:
            yield ByteRange(start, end - start)

    def feed(self, offset: int, data: bytes) -> None:
        """Take the missing nodes that lie in these bytes of the CAR."""
        if not self.feed_extra(offset, data):
            raise IndexMismatch("it ends too early")

    def feed_extra(self, offset: int, data: bytes) -> bool:
        """Do the same with bytes that were not wanted for this, and say whether a node is there."""
        first = bisect_left(self._starts, offset)
        end = bisect_right(self._ends, offset + len(data))
        for place in self._by_start[first:end]:
            if place.leaves is None:
                part = memoryview(data)[place.start - offset : place.end - offset]
                block = read_block(part, place.link.cid)
                if block is None:
                    raise IndexMismatch("a longer node than there is")
                self._store_leaves(place, block)
        return first < end

    def add_block(self, cid: Cid, block: bytes) -> bool:
        """Take a node from elsewhere and say whether it is a missing one."""
        place = self._places.get(cid)
        if place is None or place.leaves is not None or Cid.of(cid.codec, block) != cid:
            return False
        self._store_leaves(place, block)
        return True

    def chunks(self) -> ChunkList:
        """Return the list of all leaves."""
        chunks = ChunkList()
        for place in self._order:
            leaves = place.leaves or b""
            for at in range(0, len(leaves), _LEAF_BYTES):
                size = int.from_bytes(leaves[at + DIGEST_BYTES : at + _LEAF_BYTES], "big")
                chunks.append(leaves[at : at + DIGEST_BYTES], size)
        return chunks

    def _store_leaves(self, place: _NodeSlot, block: bytes) -> None:
        leaves = parse_leaf_node(block)
        if leaves is None:
            # It says what is wrong, or that there are nodes among the leaves.
            read_node(block)
            raise InvalidDag("leaves at different depths")
        size = sum(length for _, length in leaves)
        if (size, size + len(block)) != (place.link.size, place.link.tsize):
            raise InvalidDag("a link that says other sizes than its node has")
        self._chunks += place.times * len(leaves)
        if self._chunks > MAX_CHUNKS:
            raise InvalidDag(f"more than {MAX_CHUNKS} chunks")
        place.leaves = b"".join(
            digest + length.to_bytes(_SIZE_BYTES, "big") for digest, length in leaves
        )
        self.missing_count -= 1


def read_node(block: bytes) -> Node:
    """Read a node whose hash is right: what is wrong with it is wrong for everybody."""
    try:
        node = dag_pb.read(block, Codec.DAG_PB)
    except BadNode as error:
        raise InvalidDag(error.reason) from None
    if node.data or node.kind is not Kind.FILE:
        raise InvalidDag("bytes outside of its raw blocks")
    return node


def read_block(held: memoryview, cid: Cid) -> bytes | None:
    """Return the block that ``held`` begins with if it is ``cid``, or None if it is not whole."""
    try:
        length, start = varint.decode(held)
    except EOFError:
        return None
    except ValueError as error:
        raise IndexMismatch(str(error)) from None
    # Refused before it is waited for, so that a length alone never fills the memory.
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
