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
    MAX_PART,
    Lowest,
    Part,
    UnusableDag,
    WrongIndex,
    read_block,
    read_node,
)

MAX_DEPTH: Final = 8
"""Levels of interior nodes; a million chunks need five."""
MAX_NODES: Final = MAX_CHUNKS // 2
"""Nodes of one level, each counted as often as it is linked."""
_FIRST: Final = 4096
"""Bytes that are wanted first in any case, and one more for every so many of the file."""


class Outline:
    """The index of one artifact, as far as it is known.

    Take what is ``wanted`` and give what is ``missing`` until it is ``complete``.
    """

    def __init__(self, root: Cid, size: int) -> None:
        """Take what a manifest says: the CID of the DAG, and the artifact's bytes.

        Raises:
            UnusableDag: a file of that size cannot be one raw block.
        """
        if root.codec is Codec.RAW and size > MAX_BLOCK:
            raise UnusableDag(f"one block of {size} bytes")
        self._root = root
        self._size = size
        self._read = 0
        self._held = b""
        """What came after the bytes that were read, and is not a whole node yet."""
        self._level = None if root.codec is Codec.RAW else _Level([Link(root, size, size)], 1)
        self._lowest: Lowest | None = None

    @property
    def complete(self) -> bool:
        """Whether all of the index is there."""
        return self._level is None and (self._lowest is None or not self._lowest.missing)

    @property
    def length(self) -> int:
        """Bytes of the whole CAR, as far as they are known."""
        return self._read if self._lowest is None else self._lowest.end

    def wanted(self) -> list[Part]:
        """Return which bytes of the CAR are to come next; nothing once it is complete.

        While the upper levels are being read that is one part, which may reach beyond the end of
        the file; after that all parts with something that is missing, in order.
        """
        if self._lowest is not None:
            return list(self._lowest.parts())
        if self._level is None:
            return []
        start = self._read + len(self._held)
        first = _FIRST + self._size // _FIRST
        return [Part(start, min(first if not start else first // 4, MAX_PART))]

    def take(self, offset: int, data: bytes) -> None:
        """Take bytes of the CAR from ``offset`` on, of a part that was wanted.

        Raises:
            WrongIndex: they are not the index's, or too few. What was right before them is kept.
            UnusableDag: the signed DAG is out of bounds.
        """
        if self._lowest is not None:
            self._lowest.take(offset, data)
        elif self._level is not None and offset == self._read + len(self._held):
            # Forgotten first: what is wrong is wanted again from where the right bytes end.
            held, self._held = self._held + data, b""
            if not data:
                raise WrongIndex("it ends too early")
            self._take_upper(memoryview(held))

    def missing(self) -> Iterator[Cid]:
        """Yield the nodes above the leaves that are known by name only."""
        return iter(()) if self._lowest is None else self._lowest.names()

    def unread(self) -> Iterator[Cid]:
        """Yield the nodes of the level that is being read, in the order to give them in."""
        return self.missing() if self._level is None else self._level.names()

    def give(self, cid: Cid, block: bytes) -> bool:
        """Take a node from elsewhere and say whether it is missing, or the next unread one.

        Raises:
            UnusableDag: the signed DAG is out of bounds.
        """
        if self._level is not None:
            if cid != next(self._level.names()) or Cid.of(cid.codec, block) != cid:
                return False
            # As if the CAR had been read up to here.
            self._read, self._held = self._read or len(car.start(self._root)), b""
            self._read += self._learn(self._level, cid, block)
            if self._level is not None:
                return True
        return self._lowest is not None and self._lowest.give(cid, block)

    def chunks(self) -> ChunkList:
        """Return the list of chunks; raise ValueError before the index is complete."""
        if not self.complete:
            raise ValueError("the index is not complete")
        if self._lowest is not None:
            return self._lowest.chunks()
        whole = [(bytes.fromhex(self._root.digest.hex), self._size)]
        return ChunkList.of(whole if self._size else [])

    def _take_upper(self, held: memoryview) -> None:
        while self._level is not None:
            used = self._step(self._level, held)
            if not used and self._level is not None:
                self._held = bytes(held)
                return
            self._read += used
            held = held[used:]
        if self._lowest is not None:
            self._lowest.take_more(self._read, bytes(held))

    def _step(self, level: _Level, held: memoryview) -> int:
        """Read the header or one node, and return how many bytes it has; 0 if it is not whole."""
        if not self._read:
            return _same(held, car.start(self._root))
        cid = next(level.names())
        block = read_block(held, cid)
        return 0 if block is None else self._learn(level, cid, block)

    def _learn(self, level: _Level, cid: Cid, block: bytes) -> int:
        """Take the next node, and return how many bytes the CAR has for it; 0 if it is lowest."""
        node = read_node(block)
        if level.depth == 1:
            level = self._level = _top(cid, node, len(block), self._size)
        if all(link.cid.codec is Codec.RAW for link in node.links):
            self._lowest = level.bottom(self._read)
            self._level = None
            return 0
        if level.learn(cid, node, len(block)):
            self._level = level.below()
        return len(car.block_start(cid, len(block))) + len(block)


class _Level:
    """All nodes of one level from left to right, with those that were read."""

    def __init__(self, links: list[Link], depth: int) -> None:
        self.depth = depth
        self._links = links
        self._distinct = _distinct(links)
        self._queue = [*reversed(self._distinct)]
        self._nodes: dict[Cid, Node] = {}

    def names(self) -> Iterator[Cid]:
        """Yield the nodes that come next in the CAR."""
        return reversed(self._queue)

    def learn(self, cid: Cid, node: Node, length: int) -> bool:
        """Take the next node, of a block of so many bytes, and say whether it was the last."""
        if any(link.cid.codec is Codec.RAW for link in node.links):
            raise UnusableDag("leaves at different depths")
        link = self._distinct[cid]
        if (node.size, _tsize(node, length)) != (link.size, link.tsize):
            raise UnusableDag("a link that says other sizes than its node has")
        self._nodes[cid] = node
        self._queue.pop()
        return not self._queue

    def below(self) -> _Level:
        """Return the next level, once this one was read."""
        if self.depth == MAX_DEPTH:
            raise UnusableDag(f"more than {MAX_DEPTH} levels")
        # Counted before it is written out: a few nodes can link one another 2^40 times.
        if sum(len(self._nodes[link.cid].links) for link in self._links) > MAX_NODES:
            raise UnusableDag(f"more than {MAX_NODES} nodes in a level")
        nodes = (self._nodes[link.cid] for link in self._links)
        return _Level([link for node in nodes for link in node.links], self.depth + 1)

    def bottom(self, start: int) -> Lowest:
        """Return this level as the lowest one, whose nodes the CAR has from ``start`` on."""
        if self._nodes:
            raise UnusableDag("leaves at different depths")
        return Lowest(self._links, self._distinct, start)


def _top(root: Cid, node: Node, length: int, size: int) -> _Level:
    """Return the level that is the root, whose own sizes no link tells."""
    if node.size != size:
        raise UnusableDag(f"{node.size} bytes instead of {size}")
    return _Level([Link(root, size, _tsize(node, length))], 1)


def _tsize(node: Node, length: int) -> int:
    return length + sum(link.tsize for link in node.links)


def _distinct(links: list[Link]) -> dict[Cid, Link]:
    """Return the first link to each node."""
    distinct: dict[Cid, Link] = {}
    for link in links:
        if distinct.setdefault(link.cid, link) != link:
            raise UnusableDag("two links that say other sizes of one node")
    return distinct


def _same(held: memoryview, start: bytes) -> int:
    """Return the length of ``start`` if ``held`` begins with all of it, 0 if with a part."""
    if held[: len(start)] != start[: len(held)]:
        raise WrongIndex("it begins otherwise")
    return len(start) if len(held) >= len(start) else 0
