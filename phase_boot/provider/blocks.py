"""The blocks of all that a provider hands out: nodes and chunks by their CIDs.

A list of chunks is read once and kept, as many as a bounded number of chunks allows. The bytes of a
block are read from the artifact each time and hashed, so that no changed file is ever passed on.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from phase_boot.content import car, dag_pb
from phase_boot.content.chunk_list import MAX_CHUNKS, ChunkList, ChunkTable
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_index import Outline
from phase_boot.content.dag_pb import Link
from phase_boot.content.digest import Digest
from phase_boot.content.leaf_level import UnusableDag, WrongIndex
from phase_boot.provider.files import Goods, Served
from phase_boot.store.layout import dag_path, entry_path, manifest_path
from phase_boot.trust.document import MAX_BYTES

LOOK_SECONDS: Final = 2.0
"""So long what is not known is taken for absent, before the SITE is looked through again."""
MAX_NODE_BYTES: Final = 64 * 1024 * 1024


class Gone(Exception):
    """A block that was there can no longer be read as what it was."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file: from ``start`` up to, not with, ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Dag:
    """One artifact: its nodes, and where its chunks lie in it."""

    artifact: Digest
    nodes: Mapping[Cid, bytes]
    chunks: ChunkList
    table: ChunkTable

    def has(self, cid: Cid) -> bool:
        """Say whether this is a node or a chunk of the artifact."""
        if cid.codec is Codec.DAG_PB:
            return cid in self.nodes
        return self.table.find(bytes.fromhex(cid.digest.hex)) is not None


class Blocks:
    """Finds blocks. Its methods block, and may be called from several threads."""

    def __init__(self, goods: Goods, *, most: int = MAX_CHUNKS) -> None:
        """Take what is handed out, and of how many chunks to remember where they are."""
        self._goods = goods
        self._most = most
        self._dags: OrderedDict[Cid, Dag | None] = OrderedDict()
        """Those that were read, the one used last at the end; None for what is unusable."""
        self._looked = float("-inf")
        self._lock = threading.Lock()

    def find(self, cid: Cid) -> Dag | None:
        """Return an artifact that has this block, or None."""
        with self._lock:
            found = self._known(cid)
            if found is None and time.monotonic() - self._looked >= LOOK_SECONDS:
                found = self._look(cid)
                if found is None:
                    # It is in no list, and not looked for again at once, whoever asks how often.
                    self._looked = time.monotonic()
            return found

    def read(self, found: Dag, cid: Cid) -> bytes:
        """Return a block of an artifact.

        Raises:
            Gone: the file is not there any more, or has other bytes.
        """
        with Reader(self._goods, found) as reader:
            return reader.block(cid)

    def walk(
        self, found: Dag, root: Cid, *, span: Span | None, dups: bool
    ) -> Iterator[tuple[Cid, bytes]]:
        """Yield a block and all below it, depth first; with ``span`` those that these bytes need.

        Raises:
            Gone: in the middle, if a file is changed meanwhile.
        """
        with Reader(self._goods, found) as reader:
            seen: set[bytes] | None = None if dups else set()
            yield from _walk(reader, root, span, seen)

    def manifest(self, cid: Cid) -> bytes | None:
        """Return the manifest of this name, as it is announced, or None."""
        for offer in self._goods.offers():
            if offer.cid == str(cid):
                served = self._goods.open(manifest_path(offer.channel, offer.arch))
                if served is not None:
                    with served.file:
                        served.file.seek(0)
                        data = served.file.read(MAX_BYTES + 1)
                    return data if Cid.of(cid.codec, data) == cid else None
        return None

    def _known(self, cid: Cid) -> Dag | None:
        for root, found in reversed(self._dags.items()):
            if found is not None and found.has(cid):
                self._dags.move_to_end(root)
                return found
        return None

    def _look(self, cid: Cid) -> Dag | None:
        """Read the lists that are not known yet, until one has the block."""
        dags = self._goods.dags()
        for root in [root for root in self._dags if root not in dags]:
            del self._dags[root]
        for root, artifact in dags.items():
            if root in self._dags:
                continue
            found = self._dags[root] = _read(self._goods, root, artifact)
            self._forget(root)
            if found is not None and found.has(cid):
                return found
        return None

    def _forget(self, but: Cid) -> None:
        """Drop the lists that were not used for longest, as long as there are too many chunks."""
        count = sum(found.chunks.count for found in self._dags.values() if found is not None)
        for root, found in list(self._dags.items()):
            if count <= self._most:
                return
            if found is not None and root != but:
                count -= found.chunks.count
                del self._dags[root]


class Reader:
    """Blocks of one artifact, whose file stays open meanwhile."""

    def __init__(self, goods: Goods, found: Dag) -> None:
        """Open the artifact when it is first needed."""
        self._goods = goods
        self._found = found
        self._served: Served | None = None

    def block(self, cid: Cid) -> bytes:
        """Return a block; raise Gone if it is not there any more as it was."""
        if cid.codec is Codec.DAG_PB:
            return self._found.nodes[cid]
        number = self._found.table.find(bytes.fromhex(cid.digest.hex))
        if number is None:
            raise Gone(str(cid))
        chunk = self._found.chunks.chunk(number)
        if self._served is None:
            self._served = self._goods.open(entry_path(self._found.artifact))
        if self._served is None:
            raise Gone(str(cid))
        self._served.file.seek(chunk.offset)
        data = self._served.file.read(chunk.size)
        if Cid.of(Codec.RAW, data) != cid:
            raise Gone(str(cid))
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._served is not None:
            self._served.file.close()


def _walk(
    reader: Reader, cid: Cid, span: Span | None, seen: set[bytes] | None
) -> Iterator[tuple[Cid, bytes]]:
    name = bytes(cid)
    if seen is not None:
        if name in seen and span is None:
            return
        fresh = name not in seen
        seen.add(name)
    else:
        fresh = True
    block = reader.block(cid)
    if fresh:
        yield cid, block
    offset = 0
    for link in dag_pb.read(block, cid.codec).links:
        inner = _inner(span, offset, link)
        if span is None or inner is not None:
            yield from _walk(reader, link.cid, inner, seen)
        offset += link.size


def _inner(span: Span | None, offset: int, link: Link) -> Span | None:
    """Return which bytes of a child are wanted, or None if none are, or all."""
    if span is None or span.start >= offset + link.size or span.end <= offset:
        return None
    return Span(max(span.start - offset, 0), min(span.end - offset, link.size))


def _read(goods: Goods, root: Cid, artifact: Digest) -> Dag | None:
    """Read the list of an artifact's chunks, or return None if it is not there or not usable."""
    served = goods.open(entry_path(artifact))
    if served is None:
        return None
    with served.file:
        size = served.size
    try:
        outline = Outline(root, size)
        nodes = {} if outline.complete else _nodes(goods, root)
        data = b"".join(car.write(root, nodes.items()))
        for _ in range(len(nodes) + 2):
            for part in outline.wanted():
                outline.take(part.offset, data[part.offset : part.offset + part.length])
        chunks = outline.chunks()
    except (UnusableDag, WrongIndex, ValueError):
        return None
    return Dag(artifact, nodes, chunks, ChunkTable(chunks))


def _nodes(goods: Goods, root: Cid) -> dict[Cid, bytes]:
    served = goods.open(dag_path(root))
    if served is None:
        return {}
    with served.file:
        if os.fstat(served.file.fileno()).st_size > MAX_NODE_BYTES:
            return {}
        return dict(car.blocks(served.file, limit=MAX_NODE_BYTES))
