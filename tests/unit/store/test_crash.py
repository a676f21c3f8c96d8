"""A crash between any two calls to the disk loses no entry and publishes no unverified one."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.adapters.storage.posix_disk import PosixDisk
from phase_boot.store.content_store import ContentStore
from phase_boot.store.errors import Corrupt
from tests.support.artifacts import (
    artifact,
    assert_every_entry_is_what_it_is_called,
    content,
    store,
)
from tests.support.dying_disk import DyingDisk, PowerCut

OLD = b"old" * 1000
NEW = b"new" * 1000


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
