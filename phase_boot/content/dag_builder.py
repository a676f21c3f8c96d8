"""Building the DAG over the chunks of a file.

Node boundaries are content-defined, like chunk boundaries: the hash of a child decides whether it
is the last one of its node. Two versions of a file therefore share the nodes over the chunks that
they share, even if an insertion has moved them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from phase_boot.content import car, dag_pb
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import Link, Node
from phase_boot.content.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Fanout:
    """The number of children of a node."""

    min_children: int
    one_in: int
    """From ``min_children`` on, one child in this many is a boundary."""
    max_children: int


DEFAULT_FANOUT: Final = Fanout(min_children=4, one_in=12, max_children=64)
_EMPTY_CID: Final = Cid.of(Codec.RAW, b"")


@dataclass(frozen=True, slots=True)
class FileDag:
    """The interior nodes of the DAG of a file."""

    root: Cid
    nodes: tuple[tuple[Cid, bytes], ...]
    """Each distinct CID with its block, level by level from the root."""

    def car(self) -> Iterator[bytes]:
        """Yield the bytes of ``dag/<cid>.car``, section by section."""
        return car.write(self.root, self.nodes)


def build_dag(chunks: ChunkList, fanout: Fanout = DEFAULT_FANOUT) -> FileDag:
    """Return the DAG over ``chunks``. A single chunk is its own root, and so is an empty file."""
    links = [
        Link(Cid(Codec.RAW, Digest(chunk.digest.hex())), chunk.size, chunk.size) for chunk in chunks
    ]
    if not links:
        return FileDag(_EMPTY_CID, ())
    levels: list[dict[Cid, bytes]] = []
    while len(links) > 1:
        level: dict[Cid, bytes] = {}
        links = [_make_node(group, level) for group in _split_level(links, fanout)]
        levels.append(level)
    nodes = tuple(node for level in reversed(levels) for node in level.items())
    return FileDag(links[0].cid, nodes)


def _make_node(group: Sequence[Link], level: dict[Cid, bytes]) -> Link:
    """Add the node over ``group`` to its level and return the link to it."""
    node = Node.file(tuple(group))
    block = dag_pb.encode(node)
    cid = Cid.of(Codec.DAG_PB, block)
    level.setdefault(cid, block)
    return Link(cid, node.size, len(block) + sum(link.tsize for link in group))


def _split_level(links: Sequence[Link], fanout: Fanout) -> Iterator[Sequence[Link]]:
    """Split a level into groups of at least two, so that the next level is smaller."""
    start, one_but_last = 0, len(links) - 2
    for number, link in enumerate(links):
        count = number + 1 - start
        # A single link that would remain at the end joins the last group.
        ends = count == fanout.max_children or (
            count >= fanout.min_children and _is_boundary(link, fanout)
        )
        if ends and number != one_but_last:
            yield links[start : number + 1]
            start = number + 1
    if start < len(links):
        yield links[start:]


def _is_boundary(link: Link, fanout: Fanout) -> bool:
    # The last digits decide, because the first ones are the key in hash tables.
    return int(link.cid.digest.hex[-8:], 16) % fanout.one_in == 0
