"""A crash between any two calls to the disk loses no entry and publishes no unverified one."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.adapters.posix_disk import PosixDisk
from phase_boot.store.content_store import ContentStore
from phase_boot.store.disk import Disk, FileInfo, Folder
from phase_boot.store.errors import Corrupt
from tests.fakes.artifacts import (
    artifact,
    assert_every_entry_is_what_it_is_called,
    content,
    store,
)

OLD = b"old" * 1000
NEW = b"new" * 1000


class PowerCut(BaseException):
    """Nothing catches this, as nothing catches a pulled stick."""


class DyingDisk:
    """Passes ``calls`` calls on, and then no more."""

    def __init__(self, disk: Disk, calls: int) -> None:
        self._disk = disk
        self._left = calls

    def _alive(self) -> Disk:
        if self._left == 0:
            raise PowerCut
        self._left -= 1
        return self._disk

    def items(self, folder: Folder) -> tuple[FileInfo, ...]:
        return self._alive().items(folder)

    def open(self, folder: Folder, name: str) -> int:
        return self._alive().open(folder, name)

    def open_partial(self, name: str) -> int:
        return self._alive().open_partial(name)

    def write(self, fd: int, data: memoryview) -> int:
        return self._alive().write(fd, data[:1000])

    def reserve(self, fd: int, size: int) -> None:
        self._alive().reserve(fd, size)

    def write_at(self, fd: int, data: memoryview, offset: int) -> int:
        return self._alive().write_at(fd, data[:1000], offset)

    def copy(self, start: int, source: int, length: int, fd: int, offset: int) -> int:
        return self._alive().copy(start, source, min(length, 1000), fd, offset)

    def publish(self, fd: int, name: str, entry: str, folder: Folder = Folder.ENTRIES) -> None:
        self._alive().publish(fd, name, entry, folder)

    def quarantine(self, name: str) -> None:
        self._alive().quarantine(name)

    def remove(self, folder: Folder, name: str) -> None:
        self._alive().remove(folder, name)

    def free_space(self) -> int:
        return self._alive().free_space()


def test_power_cut_before_any_call_to_the_disk(tmp_path: Path) -> None:
    survived = 0
    while True:
        disk = PosixDisk(tmp_path / str(survived))
        store(ContentStore(disk, bound=1 << 20), OLD)
        try:
            store(ContentStore(DyingDisk(disk, survived), bound=1 << 20), NEW)
        except PowerCut:
            survived += 1
        else:
            break
        assert_every_entry_is_what_it_is_called(disk)
        again = ContentStore(disk, bound=1 << 20)
        assert content(again.open(artifact(OLD))) == OLD
        store(again, NEW)
        assert content(again.open(artifact(NEW))) == NEW
    assert survived > 8


@pytest.mark.parametrize("calls", range(3))
def test_power_cut_while_a_corrupt_entry_is_quarantined(tmp_path: Path, calls: int) -> None:
    disk = PosixDisk(tmp_path)
    store(ContentStore(disk, bound=1 << 20), OLD)
    entry = tmp_path / "sha256" / artifact(NEW).digest.hex
    entry.write_bytes(OLD)
    with pytest.raises((PowerCut, Corrupt)):
        ContentStore(DyingDisk(disk, calls), bound=1 << 20).open(artifact(NEW))
    again = ContentStore(disk, bound=1 << 20)
    assert content(again.open(artifact(OLD))) == OLD
    store(again, NEW)
    assert_every_entry_is_what_it_is_called(disk)
