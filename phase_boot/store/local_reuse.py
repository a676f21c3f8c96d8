"""What a store knows of the chunks of its entries, so that a new version takes them from there.

Beside an entry stands a file of the nodes over its chunks, the ``dag/<cid>.car`` of a mirror. It is
believed as far as its hashes go: a torn or changed one is as good as none, and is fetched again.
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
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.digest import Digest
from phase_boot.content.leaf_level import IndexMismatch, InvalidDag
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import NoSpace, NotStored, StoreError
from phase_boot.store.quota import Quota

MAX_INDEX: Final = 64 * 1024 * 1024
"""Bytes of one file of nodes: a million chunks need 58 MB."""
MAX_SIZE_RATIO: Final = 4
"""What is so many times larger or smaller is no other version of it."""
_HEX: Final = 64


@dataclass(frozen=True, slots=True)
class ChunkRun:
    """Chunks of a new version that an older one has in the same order."""

    first: int
    end: int
    """The chunk after the last one."""
    offset: int
    """Where the first one lies in the older version."""


class ReusableEntry:
    """An entry whose chunks are known."""

    def __init__(self, digest: Digest, fd: int, chunks: ChunkList) -> None:
        """Take its open descriptor, which stays its owner's."""
        self.digest = digest
        self._fd = fd
        self._chunks = chunks
        self._table = ChunkTable(chunks)

    def runs(self, chunks: ChunkList, have: bytes | bytearray) -> Iterator[ChunkRun]:
        """Yield which of the chunks that are not marked in ``have`` are here, and where."""
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
        """Return the descriptor of the entry, open as long as this is: it may have any bytes."""
        return self._fd

    def _continues(
        self, chunks: ChunkList, have: bytes | bytearray, number: int, place: int
    ) -> bool:
        if number == chunks.count or have[number] or place == self._chunks.count:
            return False
        return chunks.digest(number) == self._chunks.digest(place)


def save_index(
    disk: Disk, room: Quota, artifact: Artifact, root: Cid, pieces: Iterable[bytes]
) -> None:
    """Keep the nodes over an artifact's chunks under its name.

    Raises:
        StoreError: the disk failed, or there is no room left.
    """
    data = b"".join(pieces)
    if len(data) > min(MAX_INDEX, room.available()):
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
    """Yield the entries but one whose chunks are known, the one used last first."""
    for name, size in _indexes(disk, but):
        with contextlib.suppress(StoreError, ValueError):
            yield from _opened(disk, name, size)


def reusable_nodes(disk: Disk, but: Artifact) -> Iterator[Mapping[Cid, bytes]]:
    """Yield the nodes over those entries' chunks, by name: right, whatever became of the rest."""
    for name, _ in _indexes(disk, but):
        with contextlib.suppress(StoreError):
            yield _nodes(disk, name)


def _indexes(disk: Disk, but: Artifact) -> Iterator[tuple[str, int]]:
    """Yield the files of nodes of other versions and the bytes of their entries, latest first."""
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
    chunks = _chunks(root, size, _nodes(disk, name))
    if chunks is None:
        disk.remove(Folder.INDEXES, name)
        return
    fd = disk.open(Folder.ENTRIES, digest.hex)
    try:
        yield ReusableEntry(digest, fd, chunks)
    finally:
        os.close(fd)


def _nodes(disk: Disk, name: str) -> dict[Cid, bytes]:
    fd = disk.open(Folder.INDEXES, name)
    with os.fdopen(fd, "rb") as file, contextlib.suppress(car.BadCar):
        return dict(car.blocks(file, limit=MAX_INDEX))
    return {}


def _chunks(root: Cid, size: int, nodes: Mapping[Cid, bytes]) -> ChunkList | None:
    """Return the chunks of a file whose nodes are all there, or None."""
    try:
        index = DagIndex(root, size)
        data = b"".join(car.write(root, nodes.items()))
        for _ in range(len(nodes) + 2):
            for part in index.needed_ranges():
                index.feed(part.offset, data[part.offset : part.offset + part.length])
        return index.chunks()
    except (InvalidDag, IndexMismatch, ValueError):
        return None
