"""Writing an artifact from chunks: stored, resumed, and complete only when verified."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.content_store import ContentStore
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import (
    Busy,
    ContentMismatch,
    Corrupt,
    DiskFailed,
    NoSpace,
    NotStored,
    StoreError,
)
from phase_boot.store.partials import SLOTS
from tests.support.artifacts import (
    assert_every_entry_is_what_it_is_called,
    content,
    names,
    store,
)
from tests.support.downloads import artifact_of, chunked, data_of
from tests.support.dying_disk import DyingDisk, PowerCut

DATA = data_of(300_000)
CHUNKS = chunked(DATA)
ARTIFACT = artifact_of(DATA)
MANY = 1 << 30


def put(writer: ChunkWriter, first: int, end: int) -> None:
    offset, length = CHUNKS.span(first, end)
    assert writer.write_chunks(first, DATA[offset : offset + length]) == end - first


def begun(disk: Disk) -> ChunkWriter:
    return ContentStore(disk, bound=MANY).chunk_writer(ARTIFACT, CHUNKS)


def finished(disk: Disk) -> None:
    """Assert that a later writer completes the artifact from any state of the disk."""
    cas = ContentStore(disk, bound=MANY)
    writer = cas.chunk_writer(ARTIFACT, CHUNKS)
    while not writer.complete:
        first = writer.next_missing(0)
        put(writer, first, min(first + 9, writer.next_present(first)))
    assert content(cas.commit(writer)) == DATA
    assert_every_entry_is_what_it_is_called(disk)
    assert names(disk, Folder.PARTIALS) == set()


def test_chunks_in_any_order_become_the_artifact(disk: Disk) -> None:
    cas = ContentStore(disk, bound=MANY)
    writer = cas.chunk_writer(ARTIFACT, CHUNKS)
    for first in [*range(50, CHUNKS.count, 2), *range(50), *range(51, CHUNKS.count, 2)]:
        put(writer, first, first + 1)
        writer.hash_more()
    assert writer.complete
    assert content(cas.commit(writer)) == DATA
    assert names(disk, Folder.PARTIALS) == set()


def test_an_incomplete_artifact_is_no_entry(disk: Disk) -> None:
    cas = ContentStore(disk, bound=MANY)
    writer = cas.chunk_writer(ARTIFACT, CHUNKS)
    put(writer, 1, CHUNKS.count)
    with pytest.raises(ContentMismatch):
        cas.commit(writer)
    with pytest.raises(NotStored):
        cas.open(ARTIFACT)
    finished(disk)


def test_a_wrong_chunk_is_refused_and_those_before_it_are_written(disk: Disk) -> None:
    writer = begun(disk)
    offset, length = CHUNKS.span(10, 20)
    wrong = bytearray(DATA[offset : offset + length])
    wrong[CHUNKS.span(10, 15)[1]] ^= 1
    with pytest.raises(ContentMismatch):
        writer.write_chunks(10, wrong)
    assert [writer.have[n] for n in range(9, 17)] == [0, 1, 1, 1, 1, 1, 0, 0]
    writer.close()
    finished(disk)


def test_bytes_after_the_last_complete_chunk_are_ignored(disk: Disk) -> None:
    writer = begun(disk)
    offset, length = CHUNKS.span(0, 3)
    assert writer.write_chunks(0, DATA[: offset + length + 5]) == 3
    assert writer.write_chunks(3, b"") == 0
    writer.close()


def test_a_later_writer_resumes_without_losing_a_chunk(disk: Disk) -> None:
    writer = begun(disk)
    put(writer, 3, 40)
    put(writer, 100, CHUNKS.count)
    held = writer.bytes_present
    writer.close()
    again = begun(disk)
    assert again.bytes_present == held
    assert (again.next_missing(0), again.next_present(0), again.next_missing(3)) == (0, 3, 40)
    again.close()
    finished(disk)


def test_chunks_corrupted_between_writers_are_missing_again(disk: Disk) -> None:
    writer = begun(disk)
    put(writer, 0, 50)
    os.pwrite(writer._fd, b"rot", CHUNKS.chunk(7).offset)  # noqa: SLF001 - what a disk may do
    writer.close()
    again = begun(disk)
    assert again.next_missing(0) == 7
    assert again.next_missing(8) == 50
    again.close()
    finished(disk)


def test_a_disk_that_returns_other_bytes_is_detected_at_commit(disk: Disk) -> None:
    cas = ContentStore(disk, bound=MANY)
    writer = cas.chunk_writer(ARTIFACT, CHUNKS)
    put(writer, 0, CHUNKS.count)
    os.pwrite(writer._fd, b"rot", 1000)  # noqa: SLF001 - what a disk may do
    with pytest.raises(DiskFailed):
        cas.commit(writer)
    assert names(disk) == set()
    finished(disk)


def test_a_chunk_list_of_another_file_is_no_entry(disk: Disk) -> None:
    other = data_of(len(DATA), seed=2)
    cas = ContentStore(disk, bound=MANY)
    writer = cas.chunk_writer(ARTIFACT, chunked(other))
    assert writer.write_chunks(0, other) == writer.chunks.count
    with pytest.raises(ContentMismatch, match="fetch it as a whole"):
        cas.commit(writer)
    assert names(disk) | names(disk, Folder.PARTIALS) == set()
    with pytest.raises(ContentMismatch, match="were signed"):
        cas.chunk_writer(ARTIFACT, chunked(other[:-1]))


def test_only_present_chunks_are_read(disk: Disk) -> None:
    writer = begun(disk)
    put(writer, 5, 10)
    start, length = CHUNKS.span(5, 10)
    assert writer.read(start, length) == DATA[start : start + length]
    assert writer.read(start, len(DATA)) == DATA[start : start + length]
    assert writer.read(start - 1, 10) == b""
    assert writer.read(start + length, 1) == b""
    assert writer.read(-1, 10) == b""
    assert writer.read(len(DATA), 1) == b""
    writer.close()
    assert writer.read(start, length) == b""


def test_concurrent_writers_have_separate_partial_files(disk: Disk) -> None:
    several = [begun(disk) for _ in range(SLOTS)]
    with pytest.raises(Busy):
        begun(disk)
    for writer in several:
        put(writer, 0, 5)
        writer.close()
    finished(disk)


def test_an_artifact_that_does_not_fit_is_refused_before_any_byte_arrives() -> None:
    disk = MemoryDisk(capacity=len(DATA) - 1)
    with pytest.raises(NoSpace):
        begun(disk)
    assert all(not disk.content(Folder.PARTIALS, name) for name in names(disk, Folder.PARTIALS))


@pytest.mark.parametrize("unreserving", [False, True])
def test_old_entries_are_evicted_for_a_new_one(unreserving: bool) -> None:  # noqa: FBT001 - a case
    disk = MemoryDisk(capacity=len(DATA) + 1000)
    disk.unreserving = unreserving
    store(ContentStore(disk, bound=MANY), data_of(200_000, seed=3))
    finished(disk)
    assert names(disk) == {ARTIFACT.digest.hex}


def test_a_stream_writer_and_a_chunk_writer_are_independent(disk: Disk) -> None:
    cas = ContentStore(disk, bound=MANY)
    writer = cas.chunk_writer(ARTIFACT, CHUNKS)
    put(writer, 4, 9)
    writer.close()
    assert cas.stream_writer(ARTIFACT).offset == 0
    store(cas, DATA, ARTIFACT.name)
    assert names(disk, Folder.PARTIALS) == set()


def in_two_steps(cas: ContentStore) -> None:
    writer = cas.chunk_writer(ARTIFACT, CHUNKS)
    put(writer, 100, CHUNKS.count)
    put(writer, 0, 100)
    cas.commit(writer)


def test_power_cut_before_any_call_to_the_disk(tmp_path: Path) -> None:
    survived = 0
    while True:
        disk = PosixDisk(tmp_path / str(survived))
        try:
            in_two_steps(ContentStore(DyingDisk(disk, survived), bound=MANY))
        except PowerCut:
            survived += 17 if 40 < survived < 300 else 1
        else:
            break
        assert_every_entry_is_what_it_is_called(disk)
        finished(disk)
    assert survived > 300


@pytest.mark.parametrize("calls", range(40))
def test_power_cut_among_other_artifacts(tmp_path: Path, calls: int) -> None:
    disk = PosixDisk(tmp_path)
    old = store(ContentStore(disk, bound=MANY), b"old" * 1000)
    try:
        dying = ContentStore(DyingDisk(disk, calls), bound=MANY)
        put(dying.chunk_writer(ARTIFACT, CHUNKS), 0, 40)
    except (PowerCut, StoreError, Corrupt):
        pass
    assert content(ContentStore(disk, bound=MANY).open(old)) == b"old" * 1000
    finished(disk)


def lying(data: bytes) -> int:
    """Return a file with ``data``, as an older version that is on the same disk."""
    fd = os.memfd_create("older")
    os.write(fd, data)
    return fd


def test_chunks_are_copied_from_an_older_entry(disk: Disk) -> None:
    cas, older = ContentStore(disk, bound=MANY), lying(b"put before it" + DATA)
    writer = cas.chunk_writer(ARTIFACT, CHUNKS)
    writer.copy_chunks(0, CHUNKS.count, older, len(b"put before it"))
    os.close(older)
    assert writer.complete
    assert content(cas.commit(writer)) == DATA
    assert_every_entry_is_what_it_is_called(disk)


def test_only_the_requested_chunks_are_copied(disk: Disk) -> None:
    writer, older = begun(disk), lying(DATA)
    start, length = CHUNKS.span(50, 90)
    writer.copy_chunks(50, 90, older, start)
    os.close(older)
    assert (writer.next_present(0), writer.next_missing(50), writer.bytes_present) == (
        50,
        90,
        length,
    )
    assert writer.read(start, length) == DATA[start : start + length]
    writer.close()
    finished(disk)


def test_a_chunk_that_is_corrupt_in_its_source_stays_missing(disk: Disk) -> None:
    chunk = CHUNKS.chunk(70)
    older = lying(DATA[: chunk.offset] + b"rot" + DATA[chunk.offset + 3 :])
    writer = begun(disk)
    writer.copy_chunks(0, CHUNKS.count, older, 0)
    os.close(older)
    assert writer.bytes_present == len(DATA) - chunk.size
    assert writer.next_missing(0) == 70
    assert writer.read(chunk.offset, 1) == b""
    put(writer, 70, 71)
    assert writer.complete
    writer.close()
    finished(disk)


def test_present_chunks_are_not_overwritten_by_a_copy(disk: Disk) -> None:
    writer, older = begun(disk), lying(bytes(len(DATA)))
    put(writer, 20, 30)
    writer.copy_chunks(10, 40, older, 0)
    writer.copy_chunks(20, 40, older, 0)
    os.close(older)
    start, length = CHUNKS.span(20, 30)
    assert writer.read(start, length) == DATA[start : start + length]
    assert writer.bytes_present == length
    writer.close()
    finished(disk)


def test_a_truncated_older_entry_gives_the_chunks_that_it_has(disk: Disk) -> None:
    writer, older = begun(disk), lying(DATA[:100_000])
    writer.copy_chunks(0, CHUNKS.count, older, 0)
    os.close(older)
    assert writer.next_missing(0) == CHUNKS.chunk_at(100_000)
    writer.close()
    finished(disk)


def test_an_unreadable_older_entry_is_no_failure(disk: Disk) -> None:
    writer = begun(disk)
    here = os.memfd_create("older")
    unreadable = os.open(f"/proc/self/fd/{here}", os.O_WRONLY)
    writer.copy_chunks(0, CHUNKS.count, unreadable, 0)
    os.close(unreadable)
    os.close(here)
    assert writer.bytes_present == 0
    writer.close()
    finished(disk)


def test_a_disk_that_fills_up_during_a_copy_raises_no_space() -> None:
    disk = MemoryDisk(capacity=len(DATA) + 1000)
    disk.unreserving = True
    writer, older = begun(disk), lying(DATA)
    disk.capacity = 100_000
    with pytest.raises(NoSpace):
        writer.copy_chunks(0, CHUNKS.count, older, 0)
    os.close(older)
    writer.close()
    disk.capacity = MANY
    finished(disk)


def by_copying(cas: ContentStore, older: int) -> None:
    writer = cas.chunk_writer(ARTIFACT, CHUNKS)
    writer.copy_chunks(0, CHUNKS.count, older, 0)
    put(writer, writer.next_missing(0), writer.next_missing(0) + 1)
    cas.commit(writer)


def test_power_cut_while_chunks_are_copied(tmp_path: Path) -> None:
    survived, older = 0, lying(DATA[:150_000] + b"rot" + DATA[150_003:])
    while True:
        disk = PosixDisk(tmp_path / str(survived))
        try:
            by_copying(ContentStore(DyingDisk(disk, survived), bound=MANY), older)
        except PowerCut:
            survived += 17 if 20 < survived < 300 else 1
        else:
            break
        assert_every_entry_is_what_it_is_called(disk)
        finished(disk)
    os.close(older)
    assert survived > 200
