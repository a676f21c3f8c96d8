"""Sinks of the journal, also when their file or device is not there yet."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from phase_boot.adapters.system.sinks import (
    MAX_WAITING,
    BoundedFile,
    DeviceSink,
    FileSink,
    lines_of,
    older,
)
from phase_boot.journal.network_events import LinkMissing
from phase_boot.journal.record import MAX_EARLIER, Record


def record(seq: int, reason: str = "") -> Record:
    return Record(event=LinkMissing(reason=reason), seq=seq, at=0.0)


def written(*numbers: int) -> str:
    """Return the content of a file with the records of these numbers."""
    return "".join(f"{record(number).line}\n" for number in numbers)


def test_a_file_gets_every_line_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "events.jsonl"
    sink = FileSink.file(path)
    sink.write(record(1))
    sink.write(record(2))
    sink.flush()
    assert path.read_text() == written(1, 2)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_planted_for_the_journal_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "events.jsonl"
    victim.write_text("untouched")
    path.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        FileSink.file(path)
    assert victim.read_text() == "untouched"


def test_lines_wait_for_a_device_that_appears_later(tmp_path: Path) -> None:
    path = tmp_path / "port"
    sink = DeviceSink(path)
    sink.write(record(1))
    path.touch()
    sink.write(record(2))
    assert path.read_text() == written(1, 2)


def test_a_device_that_never_appears_costs_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "port"
    sink = DeviceSink(path)
    for number in range(MAX_WAITING + 5):
        sink.write(record(number))
    path.touch()
    sink.flush()
    assert path.read_text().startswith(written(0, 6))


def test_a_device_without_a_reader_never_blocks(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = DeviceSink(path)
    long = record(0, reason="x" * 1000)
    line = long.line.encode() + b"\n"
    for _ in range(200):
        sink.write(long)
    taken = b""
    while len(taken) < 200 * len(line):
        taken += os.read(reader, 1 << 20)
        sink.flush()
    assert taken == line * 200
    os.close(reader)


def test_a_run_continues_the_journal_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "run" / "events.jsonl"
    killed = FileSink.file(path, keep=True)
    killed.write(record(0))
    killed.write(record(1))
    with path.open("a") as torn:
        torn.write('{"seq": 2, "ev')
    assert lines_of(path) == (record(0).line, record(1).line)
    FileSink.file(path, keep=True).write(record(0, reason="again"))
    assert path.read_text().startswith(written(0, 1))


def test_of_a_huge_journal_the_last_whole_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f'{{"seq": {number:09d}}}\n' for number in range(100_000)))
    lines = lines_of(path)
    assert lines[-1] == '{"seq": 000099999}'
    assert sum(len(line) + 1 for line in lines) <= MAX_EARLIER
    assert all(line.startswith('{"seq"') for line in lines)


def test_a_journal_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "none") == ()


def test_a_bounded_file_keeps_the_newest_lines_in_twice_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "run" / "events.jsonl"
    sink = BoundedFile(path, bound=1000)
    for number in range(500):
        sink.write(record(number))
    sink.flush()
    assert path.stat().st_size + older(path).stat().st_size <= 2000
    kept = lines_of(path)
    assert kept[-1] == record(499).line
    assert [json.loads(line)["seq"] for line in kept] == list(range(500 - len(kept), 500))
    assert len(list(path.parent.iterdir())) == 2


def test_a_bounded_file_continues_after_a_killed_run(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    BoundedFile(path, bound=1000).write(record(0))
    BoundedFile(path, bound=1000).write(record(1))
    assert lines_of(path) == (record(0).line, record(1).line)
