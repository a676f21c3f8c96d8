"""Atomic writes: old or new after a failure of any system call, and durable when they return."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phase_boot.safefs.atomic import (
    PRIVATE,
    PUBLIC,
    Syscalls,
    create,
    create_at,
    make_folders,
    move,
    replace,
    replace_at,
    write_new,
)
from phase_boot.safefs.beneath import folder_beneath
from phase_boot.safefs.lock import Locked, locked
from tests.support.lossy_disk import LossyDisk, PowerLost

OLD, NEW = b"old" * 100, b"new" * 1000
Write = Callable[[int, Syscalls], None]


def replacing(place: int, system: Syscalls) -> None:
    replace_at(place, "file", [NEW[:1500], NEW[1500:]], PUBLIC, system=system)


def creating(place: int, system: Syscalls) -> None:
    create_at(place, "file", [NEW], PUBLIC, system=system)


WRITES = [
    pytest.param(replacing, OLD, True, id="replace"),
    pytest.param(replacing, None, True, id="replace what is missing"),
    pytest.param(creating, None, True, id="create"),
    pytest.param(creating, None, False, id="create without hard links"),
]


def prepared(folder: Path, before: bytes | None) -> None:
    for path in folder.iterdir():
        path.unlink()
    if before is not None:
        (folder / "file").write_bytes(before)


def number_of_calls(folder: Path, write: Write, before: bytes | None, *, links: bool) -> int:
    prepared(folder, before)
    disk = LossyDisk(folder, links=links)
    with folder_beneath(folder) as place:
        write(place, disk)
    assert set(disk.outcomes("file")) == {NEW}, "it is durable when it returns"
    assert (folder / "file").read_bytes() == NEW
    assert disk.calls[-1] == "fsync", "the folder is flushed last"
    return len(disk.calls)


@pytest.mark.parametrize(("write", "before", "links"), WRITES)
def test_power_lost_before_any_system_call_leaves_the_old_content_or_the_new(
    tmp_path: Path,
    write: Write,
    before: bytes | None,
    links: bool,  # noqa: FBT001 - a case
) -> None:
    calls = number_of_calls(tmp_path, write, before, links=links)
    assert calls > 6
    for at in range(calls):
        prepared(tmp_path, before)
        disk = LossyDisk(tmp_path, at, links=links)
        with folder_beneath(tmp_path) as place, pytest.raises(PowerLost):
            write(place, disk)
        assert set(disk.outcomes("file")) <= {before, NEW}, at
        with folder_beneath(tmp_path) as place:
            replacing(place, os)
        assert [path.name for path in tmp_path.iterdir()] == ["file"], "what was left is reclaimed"


@pytest.mark.parametrize(("write", "before", "links"), WRITES)
@pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EIO])
def test_any_system_call_that_fails_leaves_the_old_content_or_the_new_and_no_other_file(
    tmp_path: Path,
    write: Write,
    before: bytes | None,
    links: bool,  # noqa: FBT001 - a case
    failure: int,
) -> None:
    for at in range(number_of_calls(tmp_path, write, before, links=links)):
        prepared(tmp_path, before)
        disk = LossyDisk(tmp_path, at, failure=failure, links=links)
        with folder_beneath(tmp_path) as place, pytest.raises(OSError) as failed:  # noqa: PT011 - its errno is checked
            write(place, disk)
        assert failed.value.errno == failure
        assert set(disk.outcomes("file")) <= {before, NEW}, at
        assert {path.name for path in tmp_path.iterdir()} <= {"file"} or disk.calls[at] == "unlink"


KILLED_AT_LINE = """
import os, signal, sys
from pathlib import Path
from phase_boot.safefs import atomic
left = int(sys.argv[1])
def look(frame, event, _):
    global left
    if "safefs" in frame.f_code.co_filename:
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return look
sys.settrace(look)
atomic.replace(Path(sys.argv[2]), b"new" * 1000, 0o644)
"""


def test_a_process_killed_in_any_line_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for at in range(0, 1000, 9):
        file.write_bytes(OLD)
        done = subprocess.run(
            [sys.executable, "-c", KILLED_AT_LINE, str(at), str(file)], check=False
        )
        assert file.read_bytes() in {OLD, NEW}, at
        if not done.returncode:
            break
        assert done.returncode == -signal.SIGKILL
    assert at > 36
    assert file.read_bytes() == NEW
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_exists_is_not_created_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    for links in (True, False):
        with folder_beneath(tmp_path) as place, pytest.raises(FileExistsError):
            create_at(place, "file", [NEW], PUBLIC, system=LossyDisk(tmp_path, links=links))
        assert (tmp_path / "file").read_bytes() == OLD
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_planted_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(OLD)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("file", ".file.new"):
        (folder / name).symlink_to(secret)
    replace(folder / "file", NEW, PRIVATE)
    assert secret.read_bytes() == OLD
    assert not (folder / "file").is_symlink()
    (folder / ".other.new").symlink_to(secret)
    create(folder / "other", NEW, PRIVATE)
    (folder / "link").symlink_to(folder / "nowhere")
    with pytest.raises(FileExistsError):
        create(folder / "link", NEW, PRIVATE)
    assert secret.read_bytes() == OLD
    assert not (folder / "nowhere").exists()


def test_a_second_name_of_a_file_is_not_written_through(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(OLD)
    os.link(secret, tmp_path / ".file.new")
    replace(tmp_path / "file", NEW, PUBLIC)
    assert secret.read_bytes() == OLD


def test_a_pipe_in_place_of_the_temporary_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".file.new")
    replace(tmp_path / "file", NEW, PUBLIC)
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.parametrize("write", [replace, create])
def test_the_file_mode_does_not_depend_on_the_umask(
    tmp_path: Path, write: Callable[[Path, bytes, int], None]
) -> None:
    before = os.umask(0o077)
    try:
        write(tmp_path / "file", NEW, PUBLIC)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == PUBLIC


def test_of_two_writers_one_fails_and_no_file_is_a_mix(tmp_path: Path) -> None:
    started, go = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        yield OLD
        started.set()
        go.wait(10)
        yield OLD

    def first() -> None:
        with folder_beneath(tmp_path) as place:
            replace_at(place, "file", slow(), PUBLIC)

    thread = threading.Thread(target=first)
    thread.start()
    started.wait(10)
    with pytest.raises(Locked):
        replace(tmp_path / "file", NEW, PUBLIC)
    with pytest.raises(Locked):
        create(tmp_path / "file", NEW, PUBLIC)
    go.set()
    thread.join()
    assert (tmp_path / "file").read_bytes() == OLD * 2
    replace(tmp_path / "file", NEW, PUBLIC)


CREATOR = """
import sys
from pathlib import Path
from phase_boot.safefs.atomic import create
sys.stdin.read()
try:
    create(Path(sys.argv[1]), sys.argv[2].encode() * 1000, 0o600)
except (FileExistsError, BlockingIOError):
    sys.exit(3)
"""


def test_of_many_processes_that_create_a_file_one_succeeds_and_it_is_its_file(
    tmp_path: Path,
) -> None:
    for attempt in range(3):
        file = tmp_path / f"file{attempt}"
        running = [
            subprocess.Popen(
                [sys.executable, "-c", CREATOR, str(file), name], stdin=subprocess.PIPE
            )
            for name in "abcd"
        ]
        for process in running:
            assert process.stdin is not None
            process.stdin.close()
        statuses = [process.wait() for process in running]
        winners = [name for name, status in zip("abcd", statuses, strict=True) if status == 0]
        assert len(winners) <= 1
        if winners:
            assert file.read_text() == winners[0] * 1000
        assert not [path for path in tmp_path.iterdir() if path.name.endswith(".new")]


def test_a_new_file_is_removed_if_its_content_cannot_be_written(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield NEW
        raise ValueError("broken")

    with folder_beneath(tmp_path) as place, pytest.raises(ValueError, match="broken"):
        write_new(place, "file", broken(), PUBLIC)
    assert not list(tmp_path.iterdir())


def test_a_moved_file_replaces_another(tmp_path: Path) -> None:
    new = make_folders(tmp_path / "a" / "b")
    assert new == [tmp_path / "a" / "b", tmp_path / "a"]
    assert make_folders(tmp_path / "a" / "b") == []
    (tmp_path / "a" / "b" / "one").write_bytes(NEW)
    (tmp_path / "two").write_bytes(OLD)
    move(tmp_path / "a" / "b" / "one", tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == NEW


def test_a_folder_is_locked_once_and_free_when_its_holder_dies(tmp_path: Path) -> None:
    code = (
        "import sys, os\nfrom pathlib import Path\nfrom phase_boot.safefs.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Locked), locked(tmp_path):
            pytest.fail("it is locked")
        holder.kill()
    with locked(tmp_path):
        pass
