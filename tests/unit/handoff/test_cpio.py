"""The initramfs archive."""

import shutil
import subprocess
from pathlib import Path

import pytest

from phase_boot.handoff.cpio import Entry, archive

TREE = (
    Entry.folder("etc"),
    Entry.file("etc/motd", b"hello\n"),
    Entry.file("init", b"#!/bin/sh\n", mode=0o755),
    Entry.link("sbin", "bin"),
)


def test_the_archive_is_aligned_and_ends_in_the_trailer() -> None:
    packed = archive(TREE)
    assert len(packed) % 4 == 0
    assert packed.startswith(b"070701")
    assert packed.rstrip(b"\0").endswith(b"TRAILER!!!")


def test_equal_entries_give_equal_bytes() -> None:
    assert archive(TREE) == archive(tuple(TREE))


@pytest.mark.skipif(not shutil.which("cpio"), reason="no cpio on this machine to compare with")
def test_the_cpio_of_this_machine_unpacks_what_we_packed(tmp_path: Path) -> None:
    subprocess.run(["cpio", "-i", "--quiet"], input=archive(TREE), cwd=tmp_path, check=True)
    assert (tmp_path / "etc/motd").read_bytes() == b"hello\n"
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "sbin").readlink() == Path("bin")
