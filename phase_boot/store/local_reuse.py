"""Reuse of chunks between versions: a new version copies the chunks that an older entry has.

For each entry the store keeps the DAG nodes over its chunks, in the format of ``dag/<cid>.car`` of
a mirror. Every node is verified by its hash. A damaged file counts as none and is fetched again.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from phase_boot.content import car
from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList, ChunkTable
from phase_boot.content.cid import Cid
from phase_boot.content.dag_index import read_chunk_list
from phase_boot.content.digest import Digest
from phase_boot.content.leaf_level import IndexMismatch, InvalidDag
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import NoSpace, NotStored, StoreError
from phase_boot.store.quota import Quota

MAX_INDEX: Final = 64 * 1024 * 1024
"""Bytes of the largest index; a million chunks need 58 MB."""
MAX_SIZE_RATIO: Final = 4
"""An entry that is more than this many times larger or smaller is no other version."""
_HEX: Final = 64


@dataclass(frozen=True, slots=True)
class ChunkRun:
    """Consecutive chunks of a new version that an older one has in the same order."""

    first: int
    end: int
    """The chunk after the last one."""
    offset: int
    """The offset of the first one in the older version."""


class ReusableEntry:
    """An older entry whose chunks are known."""

    def __init__(self, digest: Digest, fd: int, chunks: ChunkList) -> None:
        """Use the open descriptor ``fd``, which the caller closes."""
        self.digest = digest
        self._fd = fd
        self._chunks = chunks
        self._table = ChunkTable(chunks)

    def runs(self, chunks: ChunkList, have: bytes | bytearray) -> Iterator[ChunkRun]:
        """Yield the chunks that are not marked in ``have`` and that this entry has."""
        number = have.find(0)
        while number >= 0:
            place = self._table.find(chunks.digest(number))
            end = number + 1
            if place is not None:
                while self._continues(chunks, have, end, place + end - number):
                    end += 1
                yield ChunkRun(number, end, self._chunks.chunk(place).offset)
            number = have.find(0, end)

    def fileno(self) -> int:
        """Return the descriptor of the entry. Its bytes are unverified."""
        return self._fd

    def _continues(
        self, chunks: ChunkList, have: bytes | bytearray, number: int, place: int
    ) -> bool:
        if number == chunks.count or have[number] or place == self._chunks.count:
            return False
        return chunks.digest(number) == self._chunks.digest(place)


def save_index(
    disk: Disk, quota: Quota, artifact: Artifact, root: Cid, pieces: Iterable[bytes]
) -> None:
    """Store the nodes over the chunks of an artifact under its digest and root CID.

    Raises:
        StoreError: the disk failed, or no space is left.
    """
    data = b"".join(pieces)
    if len(data) > min(MAX_INDEX, quota.available()):
        raise NoSpace(f"The list of chunks of {artifact.name} has no room: use a larger stick.")
    partial, name = f"{artifact.digest.hex}.dag", f"{artifact.digest.hex}.{root}"
    with contextlib.suppress(NotStored):
        disk.remove(Folder.PARTIALS, partial)
    fd = disk.open_partial(partial)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[disk.write(fd, rest) :]
        disk.publish(fd, partial, name, Folder.INDEXES)
    finally:
        os.close(fd)


def reusable_entries(disk: Disk, but: Artifact) -> Iterator[ReusableEntry]:
    """Yield the other entries whose chunks are known, the most recently used first."""
    for name, size in _indexes(disk, but):
        with contextlib.suppress(StoreError, ValueError):
            yield from _opened(disk, name, size)


def reusable_nodes(disk: Disk, but: Artifact) -> Iterator[Mapping[Cid, bytes]]:
    """Yield the nodes over the chunks of those entries by CID. All of them are verified."""
    for name, _ in _indexes(disk, but):
        with contextlib.suppress(StoreError):
            yield _nodes(disk, name)


def _indexes(disk: Disk, but: Artifact) -> Iterator[tuple[str, int]]:
    """Yield the index files of other versions and the sizes of their entries, latest first."""
    sizes = {item.name: item for item in disk.items(Folder.ENTRIES)}
    found = []
    for index in disk.items(Folder.INDEXES):
        entry = sizes.get(index.name[:_HEX])
        if entry is None or entry.name == but.digest.hex or index.size > MAX_INDEX:
            continue
        if entry.size <= but.size * MAX_SIZE_RATIO and but.size <= entry.size * MAX_SIZE_RATIO:
            found.append((entry.used, index.name, entry.size))
    for _, name, size in sorted(found, reverse=True):
        yield name, size


def _opened(disk: Disk, name: str, size: int) -> Iterator[ReusableEntry]:
    digest, root = Digest(name[:_HEX]), Cid.parse(name[_HEX + 1 :])
    try:
        chunks = _stored_chunks(disk, name, root, size)
    except (InvalidDag, IndexMismatch):
        disk.remove(Folder.INDEXES, name)
        return
    fd = disk.open(Folder.ENTRIES, digest.hex)
    try:
        yield ReusableEntry(digest, fd, chunks)
    finally:
        os.close(fd)


def _stored_chunks(disk: Disk, name: str, root: Cid, size: int) -> ChunkList:
    fd = disk.open(Folder.INDEXES, name)
    try:
        return read_chunk_list(root, size, lambda offset, length: os.pread(fd, length, offset))
    finally:
        os.close(fd)


def _nodes(disk: Disk, name: str) -> dict[Cid, bytes]:
    fd = disk.open(Folder.INDEXES, name)
    with os.fdopen(fd, "rb") as file, contextlib.suppress(car.BadCar):
        return dict(car.blocks(file, limit=MAX_INDEX))
    return {}
