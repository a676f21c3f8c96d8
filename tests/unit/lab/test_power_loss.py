"""A power cut: flushed writes remain, and unflushed ones may be lost."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from image.lab.power_loss import SECTOR, WriteLogError, read_log, replay, start_log

FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
MAGIC = 0x6A736677736872


def log_of(path: Path, *entries: tuple[int, bytes, int], magic: int = MAGIC) -> Path:
    """Write a log of (sector, content, flags)."""
    content = struct.pack("<QQQI", magic, 1, len(entries), SECTOR).ljust(SECTOR, b"\0")
    for sector, data, flags in entries:
        head = struct.pack("<QQQQ", sector, len(data) // SECTOR, flags, 0)
        content += head.ljust(SECTOR, b"\0") + data
    path.write_bytes(content + bytes(4 * SECTOR))
    return path


def sector(letter: str) -> bytes:
    return letter.encode() * SECTOR


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(sector(".") * 6)
    return path


def after(disk: Path, *entries: tuple[int, bytes, int], lose: float) -> tuple[str, int]:
    before, log = disk.with_name("before"), disk.with_name("log")
    start_log(disk, before, log)
    log_of(log, *entries)
    disk.write_bytes(b"whatever the machine left there")
    lost = replay(before, log, disk, lose=lose)
    return disk.read_bytes()[::SECTOR].decode(), lost


STORY = (
    (0, sector("a"), 0),
    (1, sector("b"), 0),
    (0, b"", FLUSH),
    (0, sector("A"), 0),
    (3, sector("c") + sector("d"), 0),
    (5, sector("e"), FUA),
)


def test_only_unflushed_writes_are_lost(disk: Path) -> None:
    assert after(disk, *STORY, lose=1) == ("ab...e", 2)


def test_a_power_cut_that_loses_nothing_leaves_every_write(disk: Path) -> None:
    assert after(disk, *STORY, lose=0) == ("Ab.cde", 0)


def test_the_same_writes_are_lost_in_every_run(disk: Path) -> None:
    many = [(0, sector("a"), FLUSH), *((number, sector("x"), 0) for number in range(6))]
    first, lost = after(disk, *many, lose=0.5)
    assert 0 < lost < 6
    disk.write_bytes(sector(".") * 6)
    assert after(disk, *many, lose=0.5) == (first, lost)


def test_a_write_in_flight_hides_no_later_flushed_write(
    disk: Path,
) -> None:
    before, log = disk.with_name("before"), disk.with_name("log")
    start_log(disk, before, log)
    late = sector("z") * 3
    story = [(0, sector("a"), 0), (1, late, 0), (2, sector("b"), 0), (0, b"", FLUSH)]
    log_of(log, *story, (5, sector("e"), 0))
    with log.open("r+b") as file:
        # The entry and its data are missing: the write was in flight.
        file.seek(SECTOR + 2 * SECTOR)
        file.write(bytes(SECTOR + len(late)))
    assert replay(before, log, disk, lose=1) == 1
    assert disk.read_bytes()[::SECTOR].decode() == "a.b..."


def test_written_data_is_not_taken_for_an_entry_after_a_hole(disk: Path) -> None:
    before, log = disk.with_name("before"), disk.with_name("log")
    start_log(disk, before, log)
    posing = struct.pack("<QQQQ", 4, 1, 0, 0).ljust(SECTOR, b"\0") + sector("!")
    log_of(log, (0, sector("a"), FLUSH), (1, sector(".") + posing, 0))
    with log.open("r+b") as file:
        file.seek(SECTOR + 2 * SECTOR)
        file.write(bytes(2 * SECTOR))
    assert replay(before, log, disk, lose=0) == 0
    assert disk.read_bytes()[::SECTOR].decode() == "a....."


def test_discards_and_marks_change_nothing(disk: Path) -> None:
    story = ((2, b"", DISCARD), (0, b"", MARK), (1, sector("b"), 0), (0, b"", FLUSH))
    assert after(disk, *story, lose=1) == (".b....", 0)


def test_an_empty_log_leaves_the_disk_unchanged(disk: Path) -> None:
    before, log = disk.with_name("before"), disk.with_name("log")
    start_log(disk, before, log)
    assert list(read_log(log)) == []
    assert replay(before, log, disk, lose=0) == 0
    assert disk.read_bytes() == sector(".") * 6


def test_a_file_that_is_no_write_log_is_refused(disk: Path) -> None:
    with pytest.raises(WriteLogError):
        list(read_log(log_of(disk, magic=1)))
