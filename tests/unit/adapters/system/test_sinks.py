"""Where the journal's lines go, and what happens when the place is not there yet."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from phase_boot.adapters.system.sinks import (
    MAX_EARLIER,
    MAX_WAITING,
    BoundedFile,
    DeviceSink,
    FileSink,
    lines_of,
    older,
)


def test_a_file_gets_every_line_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "events.jsonl"
    sink = FileSink.file(path)
    sink.write("one")
    sink.write("two")
    sink.flush()
    assert path.read_text() == "one\ntwo\n"
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
    sink.write("one")
    path.touch()
    sink.write("two")
    assert path.read_text() == "one\ntwo\n"


def test_a_device_that_never_appears_costs_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "port"
    sink = DeviceSink(path)
    for number in range(MAX_WAITING + 5):
        sink.write(str(number))
    path.touch()
    sink.flush()
    assert path.read_text().splitlines()[:2] == ["0", "6"]


def test_a_device_nobody_reads_from_never_blocks(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = DeviceSink(path)
    for _ in range(200):
        sink.write("x" * 1000)
    taken = b""
    while len(taken) < 200 * 1001:
        taken += os.read(reader, 1 << 20)
        sink.flush()
    assert taken == (b"x" * 1000 + b"\n") * 200
    os.close(reader)


def test_a_run_goes_on_in_the_journal_of_the_one_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "events.jsonl"
    killed = FileSink.file(path, keep=True)
    killed.write('{"seq": 0}')
    killed.write('{"seq": 1}')
    with path.open("a") as torn:
        torn.write('{"seq": 2, "ev')
    assert lines_of(path) == ('{"seq": 0}', '{"seq": 1}')
    FileSink.file(path, keep=True).write('{"seq": 0, "again": true}')
    assert path.read_text().startswith('{"seq": 0}\n{"seq": 1}\n')


def test_of_a_huge_journal_the_last_whole_lines_are_taken_up(tmp_path: Path) -> None:
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
        sink.write(f'{{"seq": {number}}}')
    sink.flush()
    assert path.stat().st_size + older(path).stat().st_size <= 2000
    kept = lines_of(path)
    assert kept[-1] == '{"seq": 499}'
    assert [json.loads(line)["seq"] for line in kept] == list(range(500 - len(kept), 500))
    assert len(list(path.parent.iterdir())) == 2


def test_a_bounded_file_goes_on_where_a_killed_run_stopped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    BoundedFile(path, bound=1000).write('{"a": 1}')
    BoundedFile(path, bound=1000).write('{"b": 2}')
    assert lines_of(path) == ('{"a": 1}', '{"b": 2}')
