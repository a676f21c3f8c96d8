"""From the name of a file's DAG to the list of its chunks, by as few bytes as may be.

A mirror keeps the interior nodes of a file in ``dag/<cid>.car``, level by level from the root on,
each distinct node once, where it comes first. All leaves are equally deep. So whoever has read the
upper levels from the beginning knows of each node of the lowest level how long it is, for above raw
leaves a link's tsize exceeds its size by just the node itself, and so where it lies: it takes only
those that no older version gave it.

Nothing is read or fetched here. What is given is believed when its hash agrees, and nothing that
was believed is lost when something else does not.
"""

from __future__ import annotations

from collections.abc import Iterator
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
"""Levels of interior nodes; a million chunks need five."""
MAX_NODES: Final = MAX_CHUNKS // 2
"""Nodes of one level, each counted as often as it is linked."""
_FIRST_BYTES: Final = 4096
"""Bytes that are wanted first in any case, and one more for every so many of the file."""


class DagIndex:
    """The index of one artifact, as far as it is known.

    Take what is ``wanted`` and give what is ``missing`` until it is ``complete``.
    """

    def __init__(self, root: Cid, size: int) -> None:
        """Take what a manifest says: the CID of the DAG, and the artifact's bytes.

        Raises:
            InvalidDag: a file of that size cannot be one raw block.
        """
        if root.codec is Codec.RAW and size > MAX_BLOCK:
            raise InvalidDag(f"one block of {size} bytes")
        self._root = root
        self._size = size
        self._read = 0
        self._held = b""
        """What came after the bytes that were read, and is not a whole node yet."""
        self._level = None if root.codec is Codec.RAW else _Level([Link(root, size, size)], 1)
        self._leaf_level: LeafLevel | None = None

    @property
    def complete(self) -> bool:
        """Whether all of the index is there."""
        return self._level is None and (
            self._leaf_level is None or not self._leaf_level.missing_count
        )

    @property
    def length(self) -> int:
        """Bytes of the whole CAR, as far as they are known."""
        return self._read if self._leaf_level is None else self._leaf_level.end

    def needed_ranges(self) -> list[ByteRange]:
        """Return which bytes of the CAR are to come next; nothing once it is complete.

        While the upper levels are being read that is one part, which may reach beyond the end of
        the file; after that all parts with something that is missing, in order.
        """
        if self._leaf_level is not None:
            return list(self._leaf_level.needed_ranges())
        if self._level is None:
            return []
        start = self._read + len(self._held)
        first = _FIRST_BYTES + self._size // _FIRST_BYTES
        return [ByteRange(start, min(first if not start else first // 4, MAX_RANGE))]

    def feed(self, offset: int, data: bytes) -> None:
        """Take bytes of the CAR from ``offset`` on, of a part that was wanted.

        Raises:
            IndexMismatch: they are not the index's, or too few. What was right before them is kept.
            InvalidDag: the signed DAG is out of bounds.
        """
        if self._leaf_level is not None:
            self._leaf_level.feed(offset, data)
        elif self._level is not None and offset == self._read + len(self._held):
            # Forgotten first: what is wrong is wanted again from where the right bytes end.
            held, self._held = self._held + data, b""
            if not data:
                raise IndexMismatch("it ends too early")
            self._feed_upper(memoryview(held))

    def missing_cids(self) -> Iterator[Cid]:
        """Yield the nodes above the leaves that are known by name only."""
        return iter(()) if self._leaf_level is None else self._leaf_level.missing_cids()

    def next_cids(self) -> Iterator[Cid]:
        """Yield the nodes of the level that is being read, in the order to give them in."""
        return self.missing_cids() if self._level is None else self._level.next_cids()

    def add_block(self, cid: Cid, block: bytes) -> bool:
        """Take a node from elsewhere and say whether it is missing, or the next unread one.

        Raises:
            InvalidDag: the signed DAG is out of bounds.
        """
        if self._level is not None:
            if cid != next(self._level.next_cids()) or Cid.of(cid.codec, block) != cid:
                return False
            # As if the CAR had been read up to here.
            self._read, self._held = self._read or len(car.header(self._root)), b""
            self._read += self._add_node(self._level, cid, block)
            if self._level is not None:
                return True
        return self._leaf_level is not None and self._leaf_level.add_block(cid, block)

    def chunks(self) -> ChunkList:
        """Return the list of chunks; raise ValueError before the index is complete."""
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
        """Read the header or one node, and return how many bytes it has; 0 if it is not whole."""
        if not self._read:
            return _match_prefix(held, car.header(self._root))
        cid = next(level.next_cids())
        block = read_block(held, cid)
        return 0 if block is None else self._add_node(level, cid, block)

    def _add_node(self, level: _Level, cid: Cid, block: bytes) -> int:
        """Take the next node, and return how many bytes the CAR has for it; 0 if it is lowest."""
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


class _Level:
    """All nodes of one level from left to right, with those that were read."""

    def __init__(self, links: list[Link], depth: int) -> None:
        self.depth = depth
        self._links = links
        self._distinct = _distinct(links)
        self._queue = [*reversed(self._distinct)]
        self._nodes: dict[Cid, Node] = {}

    def next_cids(self) -> Iterator[Cid]:
        """Yield the nodes that come next in the CAR."""
        return reversed(self._queue)

    def add_node(self, cid: Cid, node: Node, length: int) -> bool:
        """Take the next node, of a block of so many bytes, and say whether it was the last."""
        if any(link.cid.codec is Codec.RAW for link in node.links):
            raise InvalidDag("leaves at different depths")
        link = self._distinct[cid]
        if (node.size, _tsize(node, length)) != (link.size, link.tsize):
            raise InvalidDag("a link that says other sizes than its node has")
        self._nodes[cid] = node
        self._queue.pop()
        return not self._queue

    def next_level(self) -> _Level:
        """Return the next level, once this one was read."""
        if self.depth == MAX_DEPTH:
            raise InvalidDag(f"more than {MAX_DEPTH} levels")
        # Counted before it is written out: a few nodes can link one another 2^40 times.
        if sum(len(self._nodes[link.cid].links) for link in self._links) > MAX_NODES:
            raise InvalidDag(f"more than {MAX_NODES} nodes in a level")
        nodes = (self._nodes[link.cid] for link in self._links)
        return _Level([link for node in nodes for link in node.links], self.depth + 1)

    def leaf_level(self, start: int) -> LeafLevel:
        """Return this level as the lowest one, whose nodes the CAR has from ``start`` on."""
        if self._nodes:
            raise InvalidDag("leaves at different depths")
        return LeafLevel(self._links, self._distinct, start)


def _root_level(root: Cid, node: Node, length: int, size: int) -> _Level:
    """Return the level that is the root, whose own sizes no link tells."""
    if node.size != size:
        raise InvalidDag(f"{node.size} bytes instead of {size}")
    return _Level([Link(root, size, _tsize(node, length))], 1)


def _tsize(node: Node, length: int) -> int:
    return length + sum(link.tsize for link in node.links)


def _distinct(links: list[Link]) -> dict[Cid, Link]:
    """Return the first link to each node."""
    distinct: dict[Cid, Link] = {}
    for link in links:
        if distinct.setdefault(link.cid, link) != link:
            raise InvalidDag("two links that say other sizes of one node")
    return distinct


def _match_prefix(held: memoryview, start: bytes) -> int:
    """Return the length of ``start`` if ``held`` begins with all of it, 0 if with a part."""
    if held[: len(start)] != start[: len(held)]:
        raise IndexMismatch("it begins otherwise")
    return len(start) if len(held) >= len(start) else 0
