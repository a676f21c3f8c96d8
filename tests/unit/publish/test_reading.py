"""One pass over an input gives the hash and the chunks of separate passes."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from phase_boot.console.progress import unreported
from phase_boot.content.chunker import build_chunk_list, params_for
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.publish.reading import Clone, Content, copy
from phase_boot.publish.site import open_site
from phase_boot.store.layout import dag_path
from tests.support.downloads import data_of

SIZES = (1, 4095, 65_536, 400_000, (1 << 20) - 1, 1 << 20, 3_333_333)


def sharing(source: int, target: int) -> None:
    """Give the second file the bytes of the first, as FICLONE does; positions stay."""
    os.pwrite(target, os.pread(source, os.fstat(source).st_size, 0), 0)


def refusing(_source: int, _target: int) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def read(folder: Path, source: Path, share: Clone) -> tuple[Content, bytes]:
    """Return what a pass learns of ``source``, and the copy."""
    target = folder / "copy"
    with source.open("rb") as reader, target.open("w+b") as writer:
        content = copy("rootfs", reader, writer, share, unreported)
    return content, target.read_bytes()


@pytest.mark.parametrize("share", [sharing, refusing])
@pytest.mark.parametrize("size", SIZES)
def test_one_pass_equals_separate_hashing_and_chunking(
    tmp_path: Path, size: int, share: Callable[[int, int], None]
) -> None:
    data = data_of(size, seed=size)
    source = tmp_path / "input"
    source.write_bytes(data)
    content, copied = read(tmp_path, source, share)
    assert copied == data
    assert (content.artifact.digest, content.artifact.size) == (Digest.of(data), size)
    assert content.dag == build_dag(build_chunk_list(io.BytesIO(data), params_for(size)))


@pytest.mark.parametrize("share", [sharing, refusing])
def test_an_entry_and_its_chunks_are_those_of_separate_passes(
    tmp_path: Path, share: Callable[[int, int], None]
) -> None:
    source = tmp_path / "input"
    source.write_bytes(data_of(2_000_000, seed=3))
    steps: set[str] = set()
    with open_site(
        tmp_path / "site", share=share, report=lambda step, _done, _size: steps.add(step)
    ) as site:
        staged = site.add("rootfs", source)
        root = site.store_dag(staged.artifact, staged.dag)
        in_one = (tmp_path / "site" / dag_path(root)).read_bytes()
        assert "rootfs: index" not in steps
        (tmp_path / "site" / dag_path(root)).unlink()
        assert site.store_dag(staged.artifact) == root
        assert "rootfs: index" in steps
        assert (tmp_path / "site" / dag_path(root)).read_bytes() == in_one


@pytest.mark.parametrize("length", [300_000, 500_000])
def test_chunks_of_a_file_that_changes_its_size_are_not_used(tmp_path: Path, length: int) -> None:
    source = tmp_path / "input"
    source.write_bytes(data_of(400_000, seed=1))

    with _Slow(source, "rb") as reader, (tmp_path / "copy").open("w+b") as writer:
        first = True

        def resize(_step: str, _done: int, _size: int) -> None:
            nonlocal first
            if first:
                os.truncate(source, length)
            first = False

        content = copy("rootfs", reader, writer, refusing, resize)
    data = (tmp_path / "copy").read_bytes()
    assert content.dag is None
    assert (content.artifact.digest, content.artifact.size) == (Digest.of(data), length)


class _Slow(io.FileIO):
    """Reads 100 kB at a time, so that the file can change meanwhile."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(100_000 if size is None else min(size, 100_000)) or b""


def test_a_pipe_is_hashed_and_its_chunks_wait_for_its_size(tmp_path: Path) -> None:
    data = data_of(50_000, seed=2)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as writer:
        writer.write(data)
    with os.fdopen(reading, "rb") as reader, (tmp_path / "copy").open("w+b") as target:
        content = copy("rootfs", reader, target, sharing, unreported)
    assert content.dag is None
    assert (tmp_path / "copy").read_bytes() == data
    assert content.artifact.digest == Digest.of(data)
