from __future__ import annotations

import os
import random
from io import BytesIO

import pytest

from phase_boot.content import car
from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.chunker import ChunkerParams, build_chunk_list
from phase_boot.content.dag_builder import FileDag, build_dag
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.digest import Digest
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.store.content_store import ContentStore
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import NoSpace
from phase_boot.store.local_reuse import ChunkRun, ReusableEntry

SMALL = ChunkerParams(
    min_size=64, normal_size=192, max_size=1024, strict_one_in=512, loose_one_in=128
)
OLD = random.Random(1).randbytes(100_000)  # noqa: S311 - repeatable, not secret
NEW = b"put before it" + OLD[:50_000] + b"and into it" + OLD[50_000:]


def of(data: bytes, name: str = "rootfs") -> Artifact:
    return Artifact(name, Digest.of(data), len(data))


def cut(data: bytes) -> ChunkList:
    return build_chunk_list(BytesIO(data), SMALL)


def stored(cas: ContentStore, data: bytes) -> FileDag:
    """Put an artifact into a store with its chunks."""
    with cas.stream_writer(of(data)) as writer:
        writer.write(data)
        cas.commit(writer).close()
    tree = build_dag(cut(data))
    cas.save_index(of(data), tree.root, tree.car())
    return tree


def taken(older: ReusableEntry, chunks: ChunkList, have: bytearray) -> bytes:
    """Copy into zeros what an older version has."""
    made = bytearray(chunks.size)
    for run in older.runs(chunks, have):
        offset, length = chunks.span(run.first, run.end)
        made[offset : offset + length] = os.pread(older.fileno(), length, run.offset)
        have[run.first : run.end] = b"\1" * (run.end - run.first)
    return bytes(made)


def test_all_shared_chunks_are_found_in_an_older_entry(disk: Disk) -> None:
    cas, chunks = ContentStore(disk, bound=1 << 20), cut(NEW)
    stored(cas, OLD)
    have = bytearray(chunks.count)
    for again in cas.reusable(of(NEW)):
        made = taken(again, chunks, have)
        assert again.digest == of(OLD).digest
    lacking = [chunk for chunk in chunks if not have[chunks.chunk_at(chunk.offset)]]
    assert 0 < sum(chunk.size for chunk in lacking) < 4 * SMALL.max_size
    for chunk in chunks:
        if chunk not in lacking:
            assert made[chunk.offset :][: chunk.size] == NEW[chunk.offset :][: chunk.size]


def test_shared_chunks_form_few_runs(disk: Disk) -> None:
    cas, chunks = ContentStore(disk, bound=1 << 20), cut(NEW)
    stored(cas, OLD)
    for older in cas.reusable(of(NEW)):
        runs = list(older.runs(chunks, bytearray(chunks.count)))
        assert len(runs) <= 3
        assert list(older.runs(chunks, bytearray(b"\1") * chunks.count)) == []
        held = bytearray(b"\1") * chunks.count
        held[runs[0].first] = 0
        assert list(older.runs(chunks, held)) == [
            ChunkRun(runs[0].first, runs[0].first + 1, runs[0].offset)
        ]


def test_shared_nodes_are_available(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 20)
    stored(cas, OLD)
    tree = build_dag(cut(NEW))
    file = b"".join(tree.car())
    index = DagIndex(tree.root, len(NEW))
    index.feed(0, file[: len(file) // 4])
    lacking = list(index.missing_cids())
    [nodes] = cas.reusable_nodes(of(NEW))
    given = [index.add_block(cid, nodes.get(cid, b"")) for cid in lacking]
    assert sum(given) > len(given) - 10


def test_an_entry_is_not_reused_for_itself(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 20)
    stored(cas, OLD)
    assert list(cas.reusable(of(OLD))) == []


def test_the_index_of_an_evicted_entry_is_removed(disk: Disk) -> None:
    cas = ContentStore(disk, bound=len(OLD) + 40_000)
    stored(cas, OLD)
    assert disk.items(Folder.INDEXES)
    cas.stream_writer(of(NEW)).close()
    assert disk.items(Folder.ENTRIES) == disk.items(Folder.INDEXES) == ()


def test_an_index_evicts_nothing_and_stays_within_the_quota(disk: Disk) -> None:
    cas = ContentStore(disk, bound=len(OLD) + 1000)
    with pytest.raises(NoSpace):
        stored(cas, OLD)
    assert len(disk.items(Folder.ENTRIES)) == 1
    assert disk.items(Folder.INDEXES) == disk.items(Folder.PARTIALS) == ()


def damaged(whole: bytes, root: bytes) -> dict[str, bytes]:
    return {
        "torn": whole[: len(whole) // 2],
        "one byte less": whole[:-1],
        "one byte more": whole + b"\0",
        "another byte": whole[:-1] + b"?",
        "nothing": b"",
        "the root alone": whole[: car.HEADER_BYTES + len(root)],
        "endless zeros": bytes(99_999),
    }


@pytest.mark.parametrize("kind", sorted(damaged(b"", b"")))
def test_an_incomplete_index_counts_as_none(kind: str) -> None:
    disk = MemoryDisk()
    cas = ContentStore(disk, bound=1 << 20)
    tree = stored(cas, OLD)
    [item] = disk.items(Folder.INDEXES)
    whole = disk.content(Folder.INDEXES, item.name)
    disk.add_file(Folder.INDEXES, item.name, damaged(whole, tree.nodes[0][1])[kind])
    assert list(cas.reusable(of(NEW))) == []
    assert disk.items(Folder.INDEXES) == ()
    assert cas.has(of(OLD))


def test_an_index_of_another_file_is_not_used() -> None:
    disk = MemoryDisk()
    cas = ContentStore(disk, bound=1 << 20)
    stored(cas, OLD)
    [item] = disk.items(Folder.INDEXES)
    other = build_dag(cut(NEW))
    disk.add_file(Folder.INDEXES, f"{item.name[:65]}{other.root}", b"".join(other.car()))
    disk.add_file(Folder.INDEXES, "no name", b"")
    disk.add_file(Folder.INDEXES, f"{item.name[:65]}no-cid", b"")
    disk.add_file(Folder.INDEXES, item.name, b"", plain=False)
    assert list(cas.reusable(of(NEW))) == []


def test_changed_bytes_of_an_older_entry_are_detected_by_hash() -> None:
    disk = MemoryDisk()
    cas, chunks = ContentStore(disk, bound=1 << 20), cut(NEW)
    stored(cas, OLD)
    disk.add_file(Folder.ENTRIES, of(OLD).digest.hex, bytes(len(OLD)))
    for older in cas.reusable(of(NEW)):
        run = next(older.runs(chunks, bytearray(chunks.count)))
        data = os.pread(older.fileno(), chunks.chunk(run.first).size, run.offset)
        assert Digest.of(data).hex != chunks.digest(run.first).hex()


def test_the_index_is_stored_beside_the_entry(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 20)
    tree = stored(cas, OLD)
    names = [item.name for item in disk.items(Folder.INDEXES)]
    assert names == [f"{of(OLD).digest.hex}.{tree.root}"]
