"""The DAG over the chunks of a file: what it is called, and the nodes of each level.

A node ends where the hash of its last child says so, as a chunk ends where its bytes say so. Two
versions of a file thus share the nodes over what they share, wherever it lies.
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
    """How many children a node has."""

    min_children: int
    one_in: int
    """After ``least`` children, a node ends after one child in so many."""
    max_children: int


DEFAULT_FANOUT: Final = Fanout(min_children=4, one_in=12, max_children=64)
_EMPTY_CID: Final = Cid.of(Codec.RAW, b"")


@dataclass(frozen=True, slots=True)
class FileDag:
    """The interior nodes over a file."""

    root: Cid
    nodes: tuple[tuple[Cid, bytes], ...]
    """Each distinct one with its block, level by level from the root on."""

    def car(self) -> Iterator[bytes]:
        """Yield the pieces of ``dag/<cid>.car``."""
        return car.write(self.root, self.nodes)


def build_dag(chunks: ChunkList, fan: Fanout = DEFAULT_FANOUT) -> FileDag:
    """Return the tree over ``chunks``: a single one is its own root, and so is no byte at all."""
    links = [
        Link(Cid(Codec.RAW, Digest(chunk.digest.hex())), chunk.size, chunk.size) for chunk in chunks
    ]
    if not links:
        return FileDag(_EMPTY_CID, ())
    levels: list[dict[Cid, bytes]] = []
    while len(links) > 1:
        level: dict[Cid, bytes] = {}
        links = [_make_node(group, level) for group in _split_level(links, fan)]
        levels.append(level)
    nodes = tuple(node for level in reversed(levels) for node in level.items())
    return FileDag(links[0].cid, nodes)


def _make_node(group: Sequence[Link], level: dict[Cid, bytes]) -> Link:
    """Put the node over ``group`` into its level and return the link to it."""
    node = Node.file(tuple(group))
    block = dag_pb.encode(node)
    cid = Cid.of(Codec.DAG_PB, block)
    level.setdefault(cid, block)
    return Link(cid, node.size, len(block) + sum(link.tsize for link in group))


def _split_level(links: Sequence[Link], fan: Fanout) -> Iterator[Sequence[Link]]:
    """Cut a level into groups of at least two, so that each level is smaller than the one below."""
    start, one_but_last = 0, len(links) - 2
    for number, link in enumerate(links):
        count = number + 1 - start
        # What would be left alone at the end joins the last group.
        ends = count == fan.max_children or (count >= fan.min_children and _is_boundary(link, fan))
        if ends and number != one_but_last:
            yield links[start : number + 1]
            start = number + 1
    if start < len(links):
        yield links[start:]


def _is_boundary(link: Link, fan: Fanout) -> bool:
    # Of its last digits, so that none of those that name it in a table are used up.
    return int(link.cid.digest.hex[-8:], 16) % fan.one_in == 0
