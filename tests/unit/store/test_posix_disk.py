from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from phase_boot.adapters.posix_disk import PosixDisk
from phase_boot.store.cas import Cas
from phase_boot.store.errors import (
    Broken,
    Busy,
    Full,
    Missing,
    ReadOnly,
    StoreError,
    store_errors,
)
from tests.fakes.artifacts import artifact, store


def open_files() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_the_store_is_made_by_the_first_write_and_not_by_looking(tmp_path: Path) -> None:
    root = tmp_path / "cache" / "cas"
    cas = Cas(PosixDisk(root), bound=1 << 20)
    assert not cas.has(artifact(b"x"))
    assert PosixDisk(root).room() > 0
    assert not root.exists()
    store(cas, b"x")
    assert (root / "sha256" / artifact(b"x").digest.hex).read_bytes() == b"x"


def test_an_entry_cannot_be_written_by_mistake(tmp_path: Path) -> None:
    store(Cas(PosixDisk(tmp_path), bound=1 << 20), b"x")
    entry = tmp_path / "sha256" / artifact(b"x").digest.hex
    assert stat.S_IMODE(entry.stat().st_mode) == 0o444


def test_nothing_stays_open_so_the_disk_can_be_unmounted(tmp_path: Path) -> None:
    before = open_files()
    cas = Cas(PosixDisk(tmp_path), bound=1 << 20)
    cas.open(store(cas, b"x")).close()
    with pytest.raises(Missing):
        cas.open(artifact(b"y"))
    assert open_files() == before


def test_the_root_may_be_a_link_as_cas_is_in_the_seed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cas").symlink_to("cache")
    store(Cas(PosixDisk(tmp_path / "cas"), bound=1 << 20), b"x")
    assert (tmp_path / "cache" / "sha256").is_dir()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, Missing),
        (errno.ENOSPC, Full),
        (errno.EDQUOT, Full),
        (errno.EROFS, ReadOnly),
        (errno.EACCES, ReadOnly),
        (errno.EAGAIN, Busy),
        (errno.EIO, Broken),
        (errno.ELOOP, Broken),
    ],
)
def test_each_error_of_the_system_has_its_type_and_sentence(
    number: int, kind: type[StoreError]
) -> None:
    with pytest.raises(kind, match=r"^Could not write it: .*, so .*\.$"), store_errors("write it"):
        raise OSError(number, os.strerror(number))
