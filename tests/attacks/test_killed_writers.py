"""Processes that are killed while they write to a store, and concurrent writers."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.store.content_store import ContentStore
from tests.support.artifacts import (
    assert_every_entry_is_what_it_is_called,
    content,
    names,
    store,
)
from tests.support.downloads import artifact_of, chunked, data_of

DATA = b"the artifact " * 1000

WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from phase_boot.adapters.storage.posix_disk import PosixDisk
    from phase_boot.store.content_store import ContentStore
    from tests.support.artifacts import artifact, store

    cas = ContentStore(PosixDisk(Path(sys.argv[1])), bound=40_000_000)
    print("started", flush=True)
    for number in range(1000):
        data = number.to_bytes(4, "big") * 500_000
        with cas.stream_writer(artifact(data)) as writer:
            while writer.missing:
                writer.write(data[writer.offset : writer.offset + 65536])
            writer.commit()
        cas.open(artifact(data)).close()
    """
)


CHUNKER = textwrap.dedent(
    """
    import contextlib
    import sys
    from pathlib import Path
    from phase_boot.adapters.storage.posix_disk import PosixDisk
    from phase_boot.store.content_store import ContentStore
    from phase_boot.store.errors import StoreError
    from phase_boot.content.dag_builder import build_dag
    from tests.support.downloads import artifact_of, chunked, data_of

    cas = ContentStore(PosixDisk(Path(sys.argv[1])), bound=4_000_000)
    print("started", flush=True)
    old = data_of(400_000)
    for number in range(1000):
        new = number.to_bytes(4, "big") + old
        chunks = chunked(new)
        writer = cas.chunk_writer(artifact_of(new), chunks)
        for older in cas.reusable(writer.artifact):
            for run in older.runs(chunks, writer.have):
                writer.copy_chunks(run.first, run.end, older.fileno(), run.offset)
        while not writer.complete:
            first = writer.next_missing(0)
            offset, length = chunks.span(first, first + 1)
            writer.write_chunks(first, new[offset : offset + length])
        cas.commit(writer).close()
        tree = build_dag(chunks)
        # The other one may have made room for itself by this very artifact.
        with contextlib.suppress(StoreError):
            cas.save_index(writer.artifact, tree.root, tree.car())
    """
)


def start_writer(root: Path, program: str = WRITER) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def test_kill_9_in_the_middle_of_writing(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    chance = random.Random(1)  # noqa: S311 - to try different moments, not to keep a secret
    for _ in range(6):
        process = start_writer(tmp_path)
        time.sleep(chance.uniform(0.01, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert_every_entry_is_what_it_is_called(disk)
    assert names(disk)
    store(ContentStore(disk, bound=40_000_000), DATA)
    assert_every_entry_is_what_it_is_called(disk)


def test_kill_9_in_the_middle_of_writing_chunks(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    chance = random.Random(2)  # noqa: S311 - to try different moments, not to keep a secret
    for _ in range(8):
        process = start_writer(tmp_path, CHUNKER)
        time.sleep(chance.uniform(0.01, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert_every_entry_is_what_it_is_called(disk)
    assert names(disk)
    data = data_of(400_000, seed=9)
    cas = ContentStore(disk, bound=4_000_000)
    writer = cas.chunk_writer(artifact_of(data), chunked(data))
    writer.write_chunks(0, data)
    assert content(cas.commit(writer)) == data
    assert_every_entry_is_what_it_is_called(disk)


@pytest.mark.parametrize("program", [WRITER, CHUNKER], ids=["as a whole", "from chunks"])
def test_two_processes_write_the_same_artifacts_at_once(tmp_path: Path, program: str) -> None:
    disk = PosixDisk(tmp_path)
    processes = [start_writer(tmp_path, program) for _ in range(2)]
    time.sleep(0.5)
    for process in processes:
        assert process.poll() is None, "a writer failed beside another one"
        process.kill()
        process.communicate()
    assert names(disk)
    assert_every_entry_is_what_it_is_called(disk)
