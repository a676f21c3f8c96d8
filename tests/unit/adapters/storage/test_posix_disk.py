from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.store.content_store import ContentStore
from phase_boot.store.errors import (
    Busy,
    DiskFailed,
    NoSpace,
    NotStored,
    ReadOnly,
    StoreError,
    store_errors,
)
from tests.support.artifacts import artifact, store
from tests.support.descriptors import open_descriptors
from tests.support.downloads import data_of


def test_the_folders_are_created_by_the_first_write_and_not_by_reads(tmp_path: Path) -> None:
    root = tmp_path / "cache" / "cas"
    cas = ContentStore(PosixDisk(root), bound=1 << 20)
    assert not cas.has(artifact(b"x"))
    assert PosixDisk(root).free_space() > 0
    assert not root.exists()
    store(cas, b"x")
    assert (root / "sha256" / artifact(b"x").digest.hex).read_bytes() == b"x"


def test_an_entry_cannot_be_written_by_mistake(tmp_path: Path) -> None:
    store(ContentStore(PosixDisk(tmp_path), bound=1 << 20), b"x")
    entry = tmp_path / "sha256" / artifact(b"x").digest.hex
    assert stat.S_IMODE(entry.stat().st_mode) == 0o444


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = open_descriptors()
    cas = ContentStore(PosixDisk(tmp_path), bound=1 << 20)
    cas.open(store(cas, b"x")).close()
    with pytest.raises(NotStored):
        cas.open(artifact(b"y"))
    assert open_descriptors() == before


def test_the_root_may_be_a_symlink_as_in_the_seed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cas").symlink_to("cache")
    store(ContentStore(PosixDisk(tmp_path / "cas"), bound=1 << 20), b"x")
    assert (tmp_path / "cache" / "sha256").is_dir()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, NotStored),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EROFS, ReadOnly),
        (errno.EACCES, ReadOnly),
        (errno.EAGAIN, Busy),
        (errno.EIO, DiskFailed),
        (errno.ELOOP, DiskFailed),
    ],
)
def test_each_errno_has_its_type_and_sentence(number: int, kind: type[StoreError]) -> None:
    with pytest.raises(kind, match=r"^Could not write it: .*, so .*\.$"), store_errors("write it"):
        raise OSError(number, os.strerror(number))


def growing(disk: PosixDisk, data: bytes = b"") -> int:
    fd = disk.open_partial("new")
    os.pwrite(fd, data, 0)
    return fd


def copied(disk: PosixDisk, source: int, start: int, fd: int, offset: int) -> list[int]:
    """Copy until the source has no more; return how many bytes were taken each time."""
    taken: list[int] = []
    while not taken or taken[-1]:
        done = sum(taken)
        taken.append(disk.copy(start + done, source, 1 << 20, fd, offset + done))
    return taken[:-1]


@pytest.mark.parametrize(("start", "offset"), [(0, 0), (7, 7), (7, 4096 + 7), (7, 0), (0, 9)])
def test_a_copy_has_exactly_the_requested_bytes(tmp_path: Path, start: int, offset: int) -> None:
    disk, data = PosixDisk(tmp_path), data_of(300_000)
    (tmp_path / "old").write_bytes(data)
    source, fd = os.open(tmp_path / "old", os.O_RDONLY), growing(disk, b"x" * 400_000)
    copied(disk, source, start, fd, offset)
    expected = b"x" * offset + data[start:]
    assert os.pread(fd, 500_000, 0) == expected + b"x" * (400_000 - len(expected))
    assert os.lseek(source, 0, os.SEEK_CUR) == os.lseek(fd, 0, os.SEEK_CUR) == 0
    os.close(source)
    os.close(fd)


def test_a_copy_requests_whole_blocks_where_both_offsets_are_aligned(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    (tmp_path / "old").write_bytes(data_of(3 * 4096))
    source, fd = os.open(tmp_path / "old", os.O_RDONLY), growing(disk)
    assert copied(disk, source, 4000, fd, 4096 + 4000)[0] == 96
    assert disk.copy(0, source, 50, fd, 4096) == 50
    assert disk.copy(5, source, 50, fd, 8192 + 5) == 50
    assert disk.copy(0, source, 4096, fd, 1) == 4096
    os.close(source)
    os.close(fd)


def test_a_copy_falls_back_to_read_and_write(tmp_path: Path) -> None:
    """A file in memory lies on another filesystem than the store."""
    disk, data = PosixDisk(tmp_path), data_of(300_000)
    source, fd = os.memfd_create("elsewhere"), growing(disk)
    os.write(source, data)
    with pytest.raises(OSError, match="cross-device"):
        os.copy_file_range(source, fd, len(data), 0, 0)
    assert sum(copied(disk, source, 0, fd, 0)) == len(data)
    assert os.pread(fd, len(data) + 1, 0) == data
    os.close(source)
    os.close(fd)


def test_a_failed_copy_is_a_store_error(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    fd = growing(disk)
    unreadable = os.open(tmp_path / "old", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(DiskFailed, match="copy within the store"):
        disk.copy(0, unreadable, 10, fd, 0)
    os.close(unreadable)
    os.close(fd)


def test_writeback_is_started_once_for_each_byte_and_its_failure_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[int, int]] = []

    def note(_fd: int, start: int, length: int, _advice: int) -> None:
        begun.append((start, length))
        raise OSError(errno.EINVAL, "no such advice here")

    monkeypatch.setattr(os, "posix_fadvise", note)
    disk, mib, data = PosixDisk(tmp_path), 1 << 20, data_of(20 << 20, 7)
    fd = disk.open_partial("some.chunks")
    try:
        for offset in range(0, len(data), 3 * mib):
            piece = memoryview(data)[offset : offset + 3 * mib]
            assert disk.write_at(fd, piece, offset) == len(piece)
        assert os.pread(fd, len(data), 0) == data
    finally:
        os.close(fd)
    assert begun == [(0, 8 * mib), (8 * mib, 8 * mib)]
