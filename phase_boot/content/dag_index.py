"""The index of a file: from the CID of its DAG to the list of its chunks, in few bytes.

A mirror stores the interior nodes of a file in ``dag/<cid>.car``, level by level from the root,
each distinct node once, at its first position. All leaves have the same depth. After the upper
levels the length and offset of every node of the lowest level are known (``leaf_level``), so a
client fetches only those that no older version on its disk has.

This module does no I/O. Data is accepted when its hash is right, and data that was accepted stays
when later data is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from phase_boot.content import car
from phase_boot.content.chunk_list import MAX_CHUNKS, ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK, Link, Node
from phase_boot.content.leaf_level import (
    MAX_RANGE,
    ByteRange,
    IndexMismatch,
    InvalidDag,
    LeafLevel,
    read_block,
    read_node,
)

MAX_DEPTH: Final = 8
"""Levels of interior nodes at most; a million chunks need five."""
MAX_NODES: Final = MAX_CHUNKS // 2
"""Nodes of one level at most, each counted once for every link to it."""
_FIRST_BYTES: Final = 4096
"""Bytes of the first range: this many, and one more for every this many bytes of the file."""


class DagIndex:
    """The index of one artifact, built incrementally.

    Fetch the ``needed_ranges`` and ``feed`` them, or fetch the ``next_cids`` and ``add_block``
    them, until it is ``complete``. Both ways can be mixed.
    """

    def __init__(self, root: Cid, size: int) -> None:
        """Start with what the manifest says: the CID of the DAG, and the size of the artifact.

        Raises:
            InvalidDag: the CID is of one raw block, and the size is too large for it.
        """
        if root.codec is Codec.RAW and size > MAX_BLOCK:
            raise InvalidDag(f"one block of {size} bytes")
        self._root = root
        self._size = size
        self._read = 0
        self._held = b""
        """The bytes of an incomplete node after the bytes that were read."""
        self._level = None if root.codec is Codec.RAW else _Level([Link(root, size, size)], 1)
        self._leaf_level: LeafLevel | None = None

    @property
    def complete(self) -> bool:
        """Whether all nodes were read."""
        return self._level is None and (
            self._leaf_level is None or not self._leaf_level.missing_count
        )

    @property
    def length(self) -> int:
        """Bytes of the CAR file; of the part that was read while the whole length is unknown."""
        return self._read if self._leaf_level is None else self._leaf_level.end

    def needed_ranges(self) -> list[ByteRange]:
        """Return the ranges of the CAR file to fetch next; none once the index is complete.

        For the upper levels this is one range, which may reach beyond the end of the file. For the
        level above the leaves these are all ranges with missing nodes, in order.
        """
        if self._leaf_level is not None:
            return list(self._leaf_level.needed_ranges())
        if self._level is None:
            return []
        start = self._read + len(self._held)
        first = _FIRST_BYTES + self._size // _FIRST_BYTES
        return [ByteRange(start, min(first if not start else first // 4, MAX_RANGE))]

    def feed(self, offset: int, data: bytes) -> None:
        """Read bytes of the CAR file from ``offset`` on, of a range that was needed.

        Raises:
            IndexMismatch: they are wrong, or too few. The right ones before them are kept.
            InvalidDag: the signed DAG is out of bounds.
        """
        if self._leaf_level is not None:
            self._leaf_level.feed(offset, data)
        elif self._level is not None and offset == self._read + len(self._held):
            # Dropped first: after an error the range is needed again from the last valid byte on.
            held, self._held = self._held + data, b""
            if not data:
                raise IndexMismatch("it ends too early")
            self._feed_upper(memoryview(held))

    def missing_cids(self) -> Iterator[Cid]:
        """Yield the CIDs of the missing nodes above the leaves; none before they are known."""
        return iter(()) if self._leaf_level is None else self._leaf_level.missing_cids()

    def next_cids(self) -> Iterator[Cid]:
        """Yield the CIDs that ``add_block`` accepts, in the order in which it needs them."""
        return self.missing_cids() if self._level is None else self._level.next_cids()

    def add_block(self, cid: Cid, block: bytes) -> bool:
        """Add a node that came by its CID; return whether it was missing, or the next one needed.

        Raises:
            InvalidDag: the signed DAG is out of bounds.
        """
        if self._level is not None:
            if cid != next(self._level.next_cids()) or Cid.of(cid.codec, block) != cid:
                return False
            # The same state as if the CAR file had been read up to here.
            self._read, self._held = self._read or len(car.header(self._root)), b""
            self._read += self._add_node(self._level, cid, block)
            if self._level is not None:
                return True
        return self._leaf_level is not None and self._leaf_level.add_block(cid, block)

    def chunks(self) -> ChunkList:
        """Return the list of chunks; raise ValueError if the index is incomplete."""
        if not self.complete:
            raise ValueError("the index is not complete")
        if self._leaf_level is not None:
            return self._leaf_level.chunks()
        whole = [(bytes.fromhex(self._root.digest.hex), self._size)]
        return ChunkList.of(whole if self._size else [])

    def _feed_upper(self, held: memoryview) -> None:
        while self._level is not None:
            used = self._step(self._level, held)
            if not used and self._level is not None:
                self._held = bytes(held)
                return
            self._read += used
            held = held[used:]
        if self._leaf_level is not None:
            self._leaf_level.feed_extra(self._read, bytes(held))

    def _step(self, level: _Level, held: memoryview) -> int:
        """Read the header or one node and return its length; 0 if it is incomplete."""
        if not self._read:
            return _match_prefix(held, car.header(self._root))
        cid = next(level.next_cids())
        block = read_block(held, cid)
        return 0 if block is None else self._add_node(level, cid, block)

    def _add_node(self, level: _Level, cid: Cid, block: bytes) -> int:
        """Add the next node and return the length of its section; 0 if it has leaves below."""
        node = read_node(block)
        if level.depth == 1:
            level = self._level = _root_level(cid, node, len(block), self._size)
        if all(link.cid.codec is Codec.RAW for link in node.links):
            self._leaf_level = level.leaf_level(self._read)
            self._level = None
            return 0
        if level.add_node(cid, node, len(block)):
            self._level = level.next_level()
        return len(car.section_header(cid, len(block))) + len(block)


def read_chunk_list(root: Cid, size: int, read: Callable[[int, int], bytes]) -> ChunkList:
    """Return the chunks of a file whose whole CAR file is at hand.

    Args:
        root: CID of the DAG.
        size: bytes of the file.
        read: returns ``length`` bytes of the CAR file from ``offset`` on, fewer at its end. A file
            of one raw block has no CAR, so this is not called.

    Raises:
        IndexMismatch: the CAR file is damaged, incomplete, or longer than its nodes.
        InvalidDag: the DAG is out of bounds.
    """
    index = DagIndex(root, size)
    # Each range that is fed adds a node or raises, so this ends.
    while not index.complete:
        for part in index.needed_ranges():
            index.feed(part.offset, read(part.offset, part.length))
    if root.codec is not Codec.RAW and read(index.length, 1):
        raise IndexMismatch("bytes after the last node")
    return index.chunks()


class _Level:
    """The nodes of one upper level from left to right, and which of them were read."""

    def __init__(self, links: list[Link], depth: int) -> None:
        self.depth = depth
        self._links = links
        self._distinct = _distinct(links)
        self._queue = [*reversed(self._distinct)]
        self._nodes: dict[Cid, Node] = {}

    def next_cids(self) -> Iterator[Cid]:
        """Yield the CIDs of the nodes that follow in the CAR file."""
        return reversed(self._queue)

    def add_node(self, cid: Cid, node: Node, length: int) -> bool:
        """Add the next node, of a block of ``length`` bytes; return whether it was the last."""
        if any(link.cid.codec is Codec.RAW for link in node.links):
            raise InvalidDag("leaves at different depths")
        link = self._distinct[cid]
        if (node.size, _tsize(node, length)) != (link.size, link.tsize):
            raise InvalidDag("a link that says other sizes than its node has")
        self._nodes[cid] = node
        self._queue.pop()
        return not self._queue

    def next_level(self) -> _Level:
        """Return the level below, after all nodes of this one were read."""
        if self.depth == MAX_DEPTH:
            raise InvalidDag(f"more than {MAX_DEPTH} levels")
        # Counted before it is expanded: a few nodes can link one another 2^40 times.
        if sum(len(self._nodes[link.cid].links) for link in self._links) > MAX_NODES:
            raise InvalidDag(f"more than {MAX_NODES} nodes in a level")
        nodes = (self._nodes[link.cid] for link in self._links)
        return _Level([link for node in nodes for link in node.links], self.depth + 1)

    def leaf_level(self, start: int) -> LeafLevel:
        """Return this level as the one above the leaves, at ``start`` in the CAR file."""
        if self._nodes:
            raise InvalidDag("leaves at different depths")
        return LeafLevel(self._links, self._distinct, start)


def _root_level(root: Cid, node: Node, length: int, size: int) -> _Level:
    """Return the level of the root, whose sizes come from the manifest and its own block."""
    if node.size != size:
        raise InvalidDag(f"{node.size} bytes instead of {size}")
    return _Level([Link(root, size, _tsize(node, length))], 1)


def _tsize(node: Node, length: int) -> int:
    return length + sum(link.tsize for link in node.links)


def _distinct(links: list[Link]) -> dict[Cid, Link]:
    """Return one link to each distinct node; raise InvalidDag if two of them differ."""
    distinct: dict[Cid, Link] = {}
    for link in links:
        if distinct.setdefault(link.cid, link) != link:
            raise InvalidDag("two links that say other sizes of one node")
    return distinct


def _match_prefix(held: memoryview, start: bytes) -> int:
    """Return the length of ``start`` if ``held`` begins with it, 0 if it has only a part of it."""
    if held[: len(start)] != start[: len(held)]:
        raise IndexMismatch("it begins otherwise")
    return len(start) if len(held) >= len(start) else 0
