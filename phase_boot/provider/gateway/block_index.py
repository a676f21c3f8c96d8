"""Block index: finds the DAG nodes and chunks of served artifacts by CID.

Chunk lists are cached in LRU order, up to a bounded number of chunks. The bytes of a block are read
from the artifact and hashed on each request, so a changed file is never served.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from phase_boot.content import car, dag_pb
from phase_boot.content.chunk_list import MAX_CHUNKS, ChunkList, ChunkTable
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_index import read_chunk_list
from phase_boot.content.dag_pb import Link
from phase_boot.content.digest import Digest
from phase_boot.content.leaf_level import IndexMismatch, InvalidDag
from phase_boot.provider.backends.backend import Backend, ServedFile
from phase_boot.store.layout import dag_path, entry_path, manifest_path
from phase_boot.trust.strict_json import MAX_BYTES

RESCAN_SECONDS: Final = 2.0
"""Time for which an unknown CID counts as absent before the backend is scanned again."""
MAX_CAR_BYTES: Final = 64 * 1024 * 1024


class BlockGone(Exception):
    """A block of the index can no longer be read, or has changed."""


@dataclass(frozen=True, slots=True)
class EntityRange:
    """Bytes of a file: ``start`` inclusive, ``end`` exclusive."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ArtifactDag:
    """One artifact: its DAG nodes, and the offsets of its chunks."""

    artifact: Digest
    nodes: Mapping[Cid, bytes]
    chunks: ChunkList
    table: ChunkTable

    def has(self, cid: Cid) -> bool:
        """Return whether this is a node or chunk of the artifact."""
        if cid.codec is Codec.DAG_PB:
            return cid in self.nodes
        return self.table.find(bytes.fromhex(cid.digest.hex)) is not None


class BlockIndex:
    """Finds blocks by CID. Its methods block and are thread-safe."""

    def __init__(self, backend: Backend, *, max_chunks: int = MAX_CHUNKS) -> None:
        """Take the backend, and the number of chunks to cache."""
        self._backend = backend
        self._max_chunks = max_chunks
        self._dags: OrderedDict[Cid, ArtifactDag | None] = OrderedDict()
        """LRU cache, most recently used last; None for an unusable DAG."""
        self._scanned = float("-inf")
        self._lock = threading.Lock()

    def find(self, cid: Cid) -> ArtifactDag | None:
        """Return an artifact with this block, or None."""
        with self._lock:
            found = self._cached(cid)
            if found is None and time.monotonic() - self._scanned >= RESCAN_SECONDS:
                found = self._scan(cid)
                if found is None:
                    # Bound the cost of requests for unknown CIDs.
                    self._scanned = time.monotonic()
            return found

    def block(self, cid: Cid) -> bytes | None:
        """Return the block of an artifact, or the manifest, with this CID; None if it is absent."""
        found = self.find(cid)
        try:
            return self.manifest(cid) if found is None else self.read(found, cid)
        except BlockGone:
            return None

    def read(self, found: ArtifactDag, cid: Cid) -> bytes:
        """Return a block of an artifact.

        Raises:
            BlockGone: the file is gone or has changed.
        """
        with BlockReader(self._backend, found) as reader:
            return reader.block(cid)

    def walk(
        self, found: ArtifactDag, root: Cid, *, wanted_range: EntityRange | None, dups: bool
    ) -> Iterator[tuple[Cid, bytes]]:
        """Yield a block and its descendants, depth first; only those that ``wanted_range`` needs.

        Raises:
            BlockGone: the file changed during the walk.
        """
        with BlockReader(self._backend, found) as reader:
            seen: set[bytes] | None = None if dups else set()
            yield from _walk(reader, root, wanted_range, seen)

    def manifest(self, cid: Cid) -> bytes | None:
        """Return the bytes of the offered manifest with this CID, or None."""
        for offer in self._backend.offers():
            if offer.cid == str(cid):
                served = self._backend.open(manifest_path(offer.channel, offer.arch))
                if served is not None:
                    with served.file:
                        served.file.seek(0)
                        data = served.file.read(MAX_BYTES + 1)
                    return data if Cid.of(cid.codec, data) == cid else None
        return None

    def _cached(self, cid: Cid) -> ArtifactDag | None:
        for root, found in reversed(self._dags.items()):
            if found is not None and found.has(cid):
                self._dags.move_to_end(root)
                return found
        return None

    def _scan(self, cid: Cid) -> ArtifactDag | None:
        """Read DAGs that are not cached, until one has the block."""
        dags = self._backend.dags()
        for root in [root for root in self._dags if root not in dags]:
            del self._dags[root]
        for root, artifact in dags.items():
            if root in self._dags:
                continue
            found = self._dags[root] = _read_dag(self._backend, root, artifact)
            self._evict(root)
            if found is not None and found.has(cid):
                return found
        return None

    def _evict(self, keep: Cid) -> None:
        """Drop the least recently used DAGs while there are too many chunks."""
        count = sum(found.chunks.count for found in self._dags.values() if found is not None)
        for root, found in list(self._dags.items()):
            if count <= self._max_chunks:
                return
            if found is not None and root != keep:
                count -= found.chunks.count
                del self._dags[root]


class BlockReader:
    """Reads blocks of one artifact through one open file."""

    def __init__(self, backend: Backend, found: ArtifactDag) -> None:
        """The first read of a chunk opens the artifact."""
        self._backend = backend
        self._found = found
        self._served: ServedFile | None = None

    def block(self, cid: Cid) -> bytes:
        """Return a block; raise BlockGone if it is gone or has changed."""
        if cid.codec is Codec.DAG_PB:
            return self._found.nodes[cid]
        number = self._found.table.find(bytes.fromhex(cid.digest.hex))
        if number is None:
            raise BlockGone(str(cid))
        chunk = self._found.chunks.chunk(number)
        if self._served is None:
            self._served = self._backend.open(entry_path(self._found.artifact))
        if self._served is None:
            raise BlockGone(str(cid))
        self._served.file.seek(chunk.offset)
        data = self._served.file.read(chunk.size)
        if Cid.of(Codec.RAW, data) != cid:
            raise BlockGone(str(cid))
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._served is not None:
            self._served.file.close()


def _walk(
    reader: BlockReader, cid: Cid, wanted_range: EntityRange | None, seen: set[bytes] | None
) -> Iterator[tuple[Cid, bytes]]:
    name = bytes(cid)
    if seen is not None:
        if name in seen and wanted_range is None:
            return
        is_new = name not in seen
        seen.add(name)
    else:
        is_new = True
    block = reader.block(cid)
    if is_new:
        yield cid, block
    offset = 0
    for link in dag_pb.read(block, cid.codec).links:
        child_range = _child_range(wanted_range, offset, link)
        if wanted_range is None or child_range is not None:
            yield from _walk(reader, link.cid, child_range, seen)
        offset += link.size


def _child_range(wanted_range: EntityRange | None, offset: int, link: Link) -> EntityRange | None:
    """Return the requested bytes of a child; None if none are, or if all are."""
    if (
        wanted_range is None
        or wanted_range.start >= offset + link.size
        or wanted_range.end <= offset
    ):
        return None
    return EntityRange(
        max(wanted_range.start - offset, 0), min(wanted_range.end - offset, link.size)
    )


def _read_dag(backend: Backend, root: Cid, artifact: Digest) -> ArtifactDag | None:
    """Return the DAG of an artifact, or None if it is absent or invalid."""
    served = backend.open(entry_path(artifact))
    if served is None:
        return None
    with served.file:
        size = served.size
    data = b"" if root.codec is Codec.RAW else _read_car(backend, root)
    try:
        nodes = dict(car.blocks(data, limit=MAX_CAR_BYTES)) if data else {}
        chunks = read_chunk_list(root, size, lambda offset, length: data[offset : offset + length])
    except (InvalidDag, IndexMismatch, car.BadCar):
        return None
    return ArtifactDag(artifact, nodes, chunks, ChunkTable(chunks))


def _read_car(backend: Backend, root: Cid) -> bytes:
    """Return the CAR file of a DAG; no bytes if it is absent or too large."""
    served = backend.open(dag_path(root))
    if served is None:
        return b""
    with served.file:
        data = served.file.read(MAX_CAR_BYTES + 1)
    return data if len(data) <= MAX_CAR_BYTES else b""
