"""Attacks on the store by a person with access to the stick, and failures of the disk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.store.content_store import ContentStore
from phase_boot.store.disk import Folder
from phase_boot.store.errors import (
    ContentMismatch,
    Corrupt,
    DiskFailed,
    NoSpace,
    NotStored,
    ReadOnly,
    StoreError,
)
from tests.support.artifacts import (
    artifact,
    assert_every_entry_is_what_it_is_called,
    content,
    names,
    store,
)

DATA = b"the artifact " * 1000
SECRET = b"what lies outside of the store"


@pytest.fixture
def disk(tmp_path: Path) -> PosixDisk:
    return PosixDisk(tmp_path / "cas")


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """Return where the store keeps DATA, with the folders made."""
    for folder in Folder:
        (tmp_path / "cas" / folder).mkdir(parents=True)
    return tmp_path / "cas" / "sha256" / artifact(DATA).digest.hex


def partial(entry: Path) -> Path:
    return entry.parent.parent / "tmp" / f"{entry.name}.0"


def refetch(disk: PosixDisk) -> None:
    """Show that the next run gets a good artifact in spite of all."""
    cas = ContentStore(disk, bound=1 << 20)
    store(cas, DATA)
    assert content(cas.open(artifact(DATA))) == DATA
    assert_every_entry_is_what_it_is_called(disk)


@pytest.mark.parametrize("bad", [b"", DATA[:-1], DATA + b"\0", DATA[:-1] + b"X", b"\0" * len(DATA)])
def test_corrupt_entry_is_quarantined_and_named(disk: PosixDisk, entry: Path, bad: bytes) -> None:
    entry.write_bytes(bad)
    cas = ContentStore(disk, bound=1 << 20)
    with pytest.raises(Corrupt, match=artifact(DATA).digest.hex):
        cas.open(artifact(DATA))
    assert not cas.has(artifact(DATA))
    assert (entry.parent.parent / "corrupt" / entry.name).read_bytes() == bad
    with pytest.raises(NotStored):
        cas.open(artifact(DATA))
    refetch(disk)


def test_corrupt_twice_is_quarantined_twice(disk: PosixDisk, entry: Path) -> None:
    for bad in (b"first", b"second"):
        entry.write_bytes(bad)
        with pytest.raises(Corrupt):
            ContentStore(disk, bound=1 << 20).open(artifact(DATA))
    assert (entry.parent.parent / "corrupt" / entry.name).read_bytes() == b"second"


def test_entry_flipped_after_it_was_stored(disk: PosixDisk, entry: Path) -> None:
    cas = ContentStore(disk, bound=1 << 20)
    store(cas, DATA)
    entry.chmod(0o644)
    entry.write_bytes(b"T" + DATA[1:])
    with pytest.raises(Corrupt, match="another sha256"):
        cas.open(artifact(DATA))
    refetch(disk)


def test_rename_race_changes_the_name_and_not_what_was_hashed(
    disk: PosixDisk, entry: Path, tmp_path: Path
) -> None:
    cas = ContentStore(disk, bound=1 << 20)
    fetched = cas.open(store(cas, DATA))
    evil = tmp_path / "evil"
    evil.write_bytes(b"evil")
    evil.rename(entry)
    assert content(fetched) == DATA


def test_symlink_in_the_store(disk: PosixDisk, entry: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(DATA)
    entry.symlink_to(outside)
    with pytest.raises(Corrupt, match="not a plain file"):
        ContentStore(disk, bound=1 << 20).open(artifact(DATA))
    assert outside.read_bytes() == DATA
    refetch(disk)
    assert not entry.is_symlink()


def test_symlink_as_a_partial_file(disk: PosixDisk, entry: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(SECRET)
    partial(entry).symlink_to(outside)
    refetch(disk)
    assert outside.read_bytes() == SECRET


def test_hard_link_from_a_partial_file_to_an_entry(disk: PosixDisk, entry: Path) -> None:
    other = entry.parent / artifact(b"other").digest.hex
    other.write_bytes(b"other")
    os.link(other, partial(entry))
    refetch(disk)
    assert other.read_bytes() == b"other"


def test_symlink_as_a_folder_of_the_store(disk: PosixDisk, entry: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / entry.name).write_bytes(DATA)
    entry.parent.rmdir()
    entry.parent.symlink_to(outside)
    cas = ContentStore(disk, bound=1 << 20)
    with pytest.raises(StoreError):
        cas.open(artifact(DATA))
    with pytest.raises(DiskFailed):
        store(cas, DATA)
    assert (outside / entry.name).read_bytes() == DATA


@pytest.mark.parametrize("kind", ["fifo", "folder", "full folder"])
@pytest.mark.parametrize("place", ["entry", "partial"])
def test_special_file_in_place_of_an_entry(
    disk: PosixDisk, entry: Path, kind: str, place: str
) -> None:
    spot = entry if place == "entry" else partial(entry)
    if kind == "fifo":
        os.mkfifo(spot)
    else:
        spot.mkdir()
        if kind == "full folder":
            (spot / "x").write_bytes(SECRET)
    with pytest.raises((Corrupt, NotStored)):
        ContentStore(disk, bound=1 << 20).open(artifact(DATA))
    refetch(disk)


def test_folder_with_the_name_of_an_entry_does_not_block_its_publication(
    disk: PosixDisk, entry: Path
) -> None:
    (entry / "x").mkdir(parents=True)
    refetch(disk)


def test_sparse_file_is_not_even_read(disk: PosixDisk, entry: Path) -> None:
    with entry.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Corrupt, match="1099511627776 bytes"):
        ContentStore(disk, bound=1 << 41).open(artifact(DATA))


def test_truncated_partial_continues(disk: PosixDisk, entry: Path) -> None:
    partial(entry).write_bytes(DATA[:777])
    with ContentStore(disk, bound=1 << 20).stream_writer(artifact(DATA)) as writer:
        assert writer.offset == 777
    refetch(disk)


def test_torn_partial_with_a_wrong_prefix_costs_one_download(disk: PosixDisk, entry: Path) -> None:
    partial(entry).write_bytes(b"\0" * 777)
    cas = ContentStore(disk, bound=1 << 20)
    with pytest.raises(ContentMismatch):
        store(cas, DATA)
    assert names(disk) == set()
    with cas.stream_writer(artifact(DATA)) as writer:
        assert writer.offset == 0
    refetch(disk)


def test_partial_longer_than_the_artifact_starts_again(disk: PosixDisk, entry: Path) -> None:
    partial(entry).write_bytes(DATA + b"more")
    with ContentStore(disk, bound=1 << 20).stream_writer(artifact(DATA)) as writer:
        assert writer.offset == 0
    refetch(disk)


def test_endless_data_is_cut_at_the_signed_size(disk: PosixDisk) -> None:
    with ContentStore(disk, bound=1 << 20).stream_writer(artifact(DATA)) as writer:
        writer.write(DATA)
        with pytest.raises(ContentMismatch, match="more than its 13000 bytes"):
            writer.write(b"x")
    assert names(disk) == names(disk, Folder.PARTIALS) == set()


def test_full_disk_keeps_its_entries_and_raises_no_space() -> None:
    disk = MemoryDisk(capacity=1000)
    cas = ContentStore(disk, bound=1 << 20)
    with pytest.raises(NoSpace, match=r"no room for 13000 bytes of kernel.*larger stick"):
        cas.stream_writer(artifact(DATA))
    disk.capacity = len(DATA)
    with cas.stream_writer(artifact(DATA)) as writer:
        disk.capacity = 5000
        with pytest.raises(NoSpace):
            writer.write(DATA)
    assert names(disk) == set()
    disk.capacity = 1 << 20
    with cas.stream_writer(artifact(DATA)) as writer:
        assert writer.offset == 5000
        writer.write(DATA[5000:])
        writer.commit()
    assert content(cas.open(artifact(DATA))) == DATA


def test_read_only_disk_serves_and_refuses_to_store() -> None:
    disk = MemoryDisk()
    cas = ContentStore(disk, bound=1 << 20)
    store(cas, DATA)
    bad = artifact(b"bad")
    disk.add_file(Folder.ENTRIES, bad.digest.hex, b"sad")
    disk.read_only = True
    assert content(cas.open(artifact(DATA))) == DATA
    with pytest.raises(ReadOnly):
        cas.stream_writer(artifact(b"new"))
    with pytest.raises(Corrupt, match="could not be set aside"):
        cas.open(bad)


def test_disk_that_cannot_read_an_entry_any_more() -> None:
    class Worn(MemoryDisk):
        """Opens files whose blocks are gone."""

        def open(self, folder: Folder, name: str) -> int:
            fd = super().open(folder, name)
            try:
                return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC)
            finally:
                os.close(fd)

    disk = Worn()
    cas = ContentStore(disk, bound=1 << 20)
    store(cas, DATA)
    with pytest.raises(Corrupt, match="cannot be read"):
        cas.open(artifact(DATA))
    assert names(disk) == set()
    assert names(disk, Folder.CORRUPT) == {artifact(DATA).digest.hex}


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """Mount 1 MiB, which only root can; the same things run on the fake disk for everybody."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small filesystem: run `sudo make test` to see this one")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_really_full_disk(tmpfs: Path) -> None:
    disk = PosixDisk(tmpfs / "cas")
    cas = ContentStore(disk, bound=1 << 30)
    kept = store(cas, DATA)
    with pytest.raises(NoSpace):
        cas.stream_writer(artifact(b"x" * (2 << 20)))
    rest = artifact(b"y" * 900_000)
    with cas.stream_writer(rest) as writer:
        (tmpfs / "something else").write_bytes(b"z" * 300_000)
        cas.pin(kept.digest)
        with pytest.raises(NoSpace):
            writer.write(b"y" * 900_000)
    assert content(cas.open(kept)) == DATA
    (tmpfs / "something else").unlink()
    store(cas, b"y" * 900_000)
    assert_every_entry_is_what_it_is_called(disk)


def test_really_read_only_disk(tmpfs: Path) -> None:
    disk = PosixDisk(tmpfs / "cas")
    cas = ContentStore(disk, bound=1 << 30)
    kept = store(cas, DATA)
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    assert content(cas.open(kept)) == DATA
    with pytest.raises(ReadOnly, match="without the cache"):
        cas.stream_writer(artifact(b"new"))
