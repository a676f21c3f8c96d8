from __future__ import annotations

import os
import threading

import pytest

from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.store.content_store import ContentStore, VerifiedFile
from phase_boot.store.disk import Disk, Folder
from phase_boot.store.errors import Busy, ContentMismatch, Corrupt, NoSpace, NotStored, StoreError
from phase_boot.store.partials import SLOTS
from tests.support.artifacts import (
    artifact,
    assert_every_entry_is_what_it_is_called,
    content,
    names,
    store,
)

DATA = bytes(range(256)) * 5000


def test_a_committed_artifact_opens_with_its_bytes(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    kernel = artifact(DATA)
    assert not cas.has(kernel)
    with pytest.raises(NotStored, match="fetch it"):
        cas.open(kernel)
    assert store(cas, DATA) == kernel
    assert cas.has(kernel)
    assert content(cas.open(kernel)) == DATA
    assert names(disk, Folder.PARTIALS) == set()


def test_an_entry_of_another_size_does_not_count() -> None:
    disk = MemoryDisk()
    disk.add_file(Folder.ENTRIES, artifact(DATA).digest.hex, DATA[:-1])
    assert not ContentStore(disk, bound=1 << 24).has(artifact(DATA))


def test_a_verified_file_reads_from_its_start_and_is_read_only(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    with cas.open(store(cas, DATA)) as fetched:
        assert os.lseek(fetched.fileno(), 0, os.SEEK_CUR) == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(fetched.fileno(), b"x")
    with pytest.raises(ValueError, match="closed"):
        fetched.fileno()
    fetched.close()


def test_only_a_store_makes_a_verified_file() -> None:
    with pytest.raises(TypeError, match="only"):
        VerifiedFile(artifact(DATA), 0)


def test_an_artifact_is_no_entry_before_commit(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    with cas.stream_writer(artifact(DATA)) as writer:
        writer.write(DATA)
        assert not cas.has(artifact(DATA))
        assert names(disk) == set()


def test_a_stopped_download_resumes(disk: Disk) -> None:
    with ContentStore(disk, bound=1 << 24).stream_writer(artifact(DATA)) as writer:
        writer.write(DATA[:1000])
        writer.write(bytearray(DATA[1000:70000]))
    cas = ContentStore(disk, bound=1 << 24)
    with cas.stream_writer(artifact(DATA)) as writer:
        assert (writer.offset, writer.missing) == (70000, len(DATA) - 70000)
        writer.write(DATA[70000:])
        writer.commit()
    assert content(cas.open(artifact(DATA))) == DATA


def test_a_complete_partial_file_needs_no_byte(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    with cas.stream_writer(artifact(DATA)) as writer:
        writer.write(DATA)
    with cas.stream_writer(artifact(DATA)) as writer:
        assert writer.missing == 0
        writer.commit()
    assert content(cas.open(artifact(DATA))) == DATA


def test_wrong_bytes_are_discarded_at_commit(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    with cas.stream_writer(artifact(DATA)) as writer:
        writer.write(DATA[:-1] + b"\0")
        with pytest.raises(ContentMismatch):
            writer.commit()
    assert names(disk) == names(disk, Folder.PARTIALS) == set()


def test_too_few_bytes_are_discarded_at_commit(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    with cas.stream_writer(artifact(DATA)) as writer:
        writer.write(DATA[:-1])
        with pytest.raises(ContentMismatch, match="only 1279999 of its 1280000"):
            writer.commit()
    assert names(disk) == names(disk, Folder.PARTIALS) == set()


def test_a_closed_writer_refuses_to_write_and_commit(disk: Disk) -> None:
    writer = ContentStore(disk, bound=1 << 24).stream_writer(artifact(DATA))
    writer.write(DATA)
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.commit()
    assert names(disk) == set()


def test_committing_over_an_entry_repairs_it(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    store(cas, DATA)
    store(cas, DATA)
    assert content(cas.open(artifact(DATA))) == DATA


def test_the_least_recently_used_entry_is_evicted(disk: Disk) -> None:
    cas = ContentStore(disk, bound=3000)
    first, second, third = (store(cas, bytes([n]) * 1000) for n in range(3))
    content(cas.open(first))
    fourth = store(cas, b"four" * 250)
    assert [cas.has(a) for a in (first, second, third, fourth)] == [True, False, True, True]


def test_partial_files_of_other_artifacts_are_evicted_too(disk: Disk) -> None:
    cas = ContentStore(disk, bound=3000)
    with cas.stream_writer(artifact(b"left behind" * 200)) as writer:
        writer.write(b"left behind" * 150)
    kept = store(cas, b"x" * 1000)
    store(cas, b"y" * 2000)
    assert cas.has(kept)
    assert names(disk, Folder.PARTIALS) == set()


def test_pinned_entries_are_not_evicted(disk: Disk) -> None:
    cas = ContentStore(disk, bound=3000)
    first = store(cas, b"1" * 1000)
    cas.pin(first.digest)
    second = store(cas, b"2" * 1000)
    store(cas, b"3" * 2000)
    assert (cas.has(first), cas.has(second)) == (True, False)
    again = ContentStore(disk, bound=3000, pinned=[first.digest])
    with pytest.raises(NoSpace):
        again.stream_writer(artifact(b"4" * 3000))
    assert again.has(first)


def test_open_entries_are_not_evicted(disk: Disk) -> None:
    cas = ContentStore(disk, bound=3000)
    first = store(cas, b"1" * 1000)
    second = store(cas, b"2" * 1000)
    with cas.open(first):
        cas.open(second).close()
        store(cas, b"3" * 2000)
        assert (cas.has(first), cas.has(second)) == (True, False)
        with pytest.raises(NoSpace), cas.open(artifact(b"3" * 2000)):
            cas.stream_writer(artifact(b"4" * 1000))
    assert cas.has(first)


def test_an_entry_evicted_by_another_process_counts_as_freed() -> None:
    class ShareHandle(MemoryDisk):
        """Another process evicts the same victim a moment earlier."""

        def remove(self, folder: Folder, name: str) -> None:
            super().remove(folder, name)
            super().remove(folder, name)

    cas = ContentStore(ShareHandle(), bound=3000)
    first = store(cas, b"1" * 2000)
    second = store(cas, b"2" * 2000)
    assert (cas.has(first), cas.has(second)) == (False, True)


def test_an_artifact_that_cannot_fit_evicts_nothing(disk: Disk) -> None:
    cas = ContentStore(disk, bound=3000)
    kept = store(cas, b"1" * 1000)
    with pytest.raises(NoSpace):
        cas.stream_writer(artifact(b"2" * 3001))
    assert cas.has(kept)


def test_concurrent_writers_share_the_quota(disk: Disk) -> None:
    cas = ContentStore(disk, bound=3000)
    with cas.stream_writer(artifact(b"1" * 2000)) as writer:
        with pytest.raises(NoSpace):
            cas.stream_writer(artifact(b"2" * 2000))
        writer.write(b"1" * 1500)
        with pytest.raises(NoSpace):
            cas.stream_writer(artifact(b"2" * 2000))
        store(cas, b"3" * 1000)
        writer.write(b"1" * 500)
        writer.commit()
    assert cas.has(artifact(b"1" * 2000))


def test_the_free_space_of_the_disk_limits_the_quota() -> None:
    disk = MemoryDisk(capacity=3000)
    cas = ContentStore(disk, bound=1 << 30)
    first = store(cas, b"1" * 2000)
    second = store(cas, b"2" * 2000)
    assert (cas.has(first), cas.has(second)) == (False, True)
    with pytest.raises(NoSpace):
        cas.stream_writer(artifact(b"3" * 4000))
    assert cas.has(second)


def test_a_disk_that_fills_up_during_a_write_evicts() -> None:
    disk = MemoryDisk(capacity=3000)
    cas = ContentStore(disk, bound=1 << 30)
    old = store(cas, b"1" * 1000)
    with cas.stream_writer(artifact(b"2" * 2000)) as writer:
        disk.capacity = 2500
        writer.write(b"2" * 2000)
        writer.commit()
    assert not cas.has(old)
    assert cas.has(artifact(b"2" * 2000))


def test_two_writers_of_one_artifact_are_independent(disk: Disk) -> None:
    one, two = ContentStore(disk, bound=1 << 24), ContentStore(disk, bound=1 << 24)
    with one.stream_writer(artifact(DATA)) as first, two.stream_writer(artifact(DATA)) as second:
        first.write(DATA[:1000])
        second.write(DATA)
        first.write(DATA[1000:])
        second.commit()
        first.commit()
    assert content(one.open(artifact(DATA))) == DATA
    assert names(disk, Folder.PARTIALS) == set()


def test_commit_removes_the_leftovers_of_ended_writers(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    with cas.stream_writer(artifact(DATA)) as first, cas.stream_writer(artifact(DATA)) as second:
        second.write(DATA[:10])
        second.close()
        first.write(DATA)
        first.commit()
    assert names(disk, Folder.PARTIALS) == set()


def test_the_writers_of_one_artifact_are_bounded(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 30)
    writers = [cas.stream_writer(artifact(DATA)) for _ in range(SLOTS)]
    with pytest.raises(Busy):
        cas.stream_writer(artifact(DATA))
    for writer in writers:
        writer.close()
    cas.stream_writer(artifact(DATA)).close()


def test_many_threads_write_one_artifact_each_and_read_the_others(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(8):
                store(cas, bytes([number, turn]) * 500)
                with cas.open(artifact(bytes([number, turn]) * 500)):
                    pass
        except (StoreError, ValueError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(names(disk)) == 48
    assert_every_entry_is_what_it_is_called(disk)


def test_a_corrupt_entry_is_evicted_before_a_good_one() -> None:
    disk = MemoryDisk()
    cas = ContentStore(disk, bound=3000)
    good = store(cas, b"1" * 1000)
    bad = artifact(b"2" * 1000)
    disk.add_file(Folder.ENTRIES, bad.digest.hex, b"x" * 1000)
    with pytest.raises(Corrupt):
        cas.open(bad)
    store(cas, b"3" * 1500)
    assert cas.has(good)
    assert names(disk, Folder.CORRUPT) == set()


def test_commit_returns_the_file_that_was_written(disk: Disk) -> None:
    cas = ContentStore(disk, bound=1 << 24)
    with cas.stream_writer(artifact(DATA)) as writer:
        writer.write(DATA)
        written = writer.identity()
        fetched = cas.commit(writer)
    status = os.fstat(fetched.fileno())
    assert (status.st_dev, status.st_ino) == written
    assert content(fetched) == DATA


def test_a_file_that_replaces_the_committed_one_is_hashed_first() -> None:
    """The rename race: what was written is right, what is found under its name is not."""

    class Racing(MemoryDisk):
        def publish(self, fd: int, name: str, entry: str, folder: Folder = Folder.ENTRIES) -> None:
            super().publish(fd, name, entry, folder)
            self.add_file(Folder.ENTRIES, entry, bytes(len(DATA)))

    disk = Racing()
    cas = ContentStore(disk, bound=1 << 24)
    with cas.stream_writer(artifact(DATA)) as writer:
        writer.write(DATA)
        with pytest.raises(Corrupt, match="another sha256"):
            cas.commit(writer)
    assert names(disk) == set()
