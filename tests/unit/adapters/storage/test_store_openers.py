"""Where artifacts are stored: Cache of the booted stick, a folder, or memory."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phase_boot.adapters.boot.boot_disk import Partition
from phase_boot.adapters.storage.cache_partition import LOOKS, WANTED, CachePartitionOpener
from phase_boot.adapters.storage.folder_store import FolderOpener
from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.drill import virtual_time
from phase_boot.firmware.boot_disk import BootDiskUnknown
from phase_boot.handoff.document import CachePartition
from phase_boot.store.content_store import ContentStore

DATA = b"kernel" * 100
ARTIFACT = Artifact("kernel", Digest.of(DATA), len(DATA))


def stored(cas: ContentStore) -> None:
    with cas.stream_writer(ARTIFACT) as writer:
        writer.write(DATA)
        writer.commit()


def entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@dataclass
class FakeBootDisk:
    """Implements `adapters.boot_disk.BootDisk`: answers one after the other, the last for ever."""

    answers: list[Partition | BootDiskUnknown | None]
    asked: list[str] = field(default_factory=list)

    def partition(self, name: str) -> Partition | None:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(name)
        if isinstance(answer, BootDiskUnknown):
            raise answer
        return answer


CACHE = Partition(
    device="/dev/sdb3", guid="7068a5e0-0000-8000-8000-000000000003", location="/pci0000:00/x"
)
NONE_YET = BootDiskUnknown("the disk that the firmware booted is not there", absent=True)
COPIES = BootDiskUnknown("a copy of this stick is plugged in; unplug it")


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Let `mount` and `umount` write down how they were called, and return how to read that."""
    programs, log = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    log.touch()
    for name in ("mount", "umount"):
        script = programs / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return log.read_text


async def test_a_folder_keeps_its_artifacts(tmp_path: Path) -> None:
    first = await FolderOpener(tmp_path / "cas").open(persistent=True, bound=1 << 20)
    stored(first.cas)
    again = await FolderOpener(tmp_path / "cas").open(persistent=True, bound=1 << 20)
    assert again.cas.has(ARTIFACT)
    assert again.persistent


async def test_a_store_in_memory_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = FolderOpener(tmp_path / "cas")
    store = await cache.open(persistent=False, bound=1 << 20)
    stored(store.cas)
    assert not store.persistent
    await cache.release()
    assert not store.cas.has(ARTIFACT)
    assert entries(tmp_path) == []


async def test_cache_of_the_booted_disk_is_mounted_and_named_to_the_target(
    tmp_path: Path, mounts: Callable[[], str]
) -> None:
    store = await CachePartitionOpener(FakeBootDisk([CACHE]), root=tmp_path).open(
        persistent=True, bound=1
    )
    assert store.persistent
    assert store.partition == CachePartition(guid=CACHE.guid, location=CACHE.location)
    assert mounts() == ("mount -t ext4 -o noatime,nodev,nosuid,noexec /dev/sdb3 /cache\n")


def test_a_booted_disk_that_appears_late_is_used_and_its_driver_requested(tmp_path: Path) -> None:
    wanted = tmp_path / WANTED.relative_to("/")
    wanted.parent.mkdir(parents=True)
    disk = FakeBootDisk([CACHE])
    assert virtual_time.run(CachePartitionOpener(disk, root=tmp_path).partition()) == CACHE
    assert not wanted.exists()
    disk = FakeBootDisk([NONE_YET, NONE_YET, CACHE])
    assert virtual_time.run(CachePartitionOpener(disk, root=tmp_path).partition()) == CACHE
    assert disk.asked == ["phase-cache"] * 3
    assert wanted.exists()


def test_the_driver_request_file_is_the_one_that_systemd_watches() -> None:
    units = Path("image/seed/root/usr/lib/systemd/system")
    assert f"PathExists={WANTED}\n" in (units / "phase-coldplug-late.path").read_text()
    wants = (units / "phase-boot.target").read_text()
    assert re.search(r"^Wants=.*\bphase-coldplug-late\.path\b", wants, re.MULTILINE)


def test_a_booted_disk_that_never_appears_is_waited_for_once(tmp_path: Path) -> None:
    disk = FakeBootDisk([NONE_YET])
    cache = CachePartitionOpener(disk, root=tmp_path)
    for asked in (LOOKS, LOOKS + 1):
        with pytest.raises(BootDiskUnknown):
            virtual_time.run(cache.partition())
        assert len(disk.asked) == asked


async def test_of_copies_none_is_mounted_and_none_is_waited_for(
    tmp_path: Path, mounts: Callable[[], str]
) -> None:
    disk = FakeBootDisk([COPIES])
    with pytest.raises(BootDiskUnknown, match="a copy of this stick"):
        await CachePartitionOpener(disk, root=tmp_path).partition()
    assert len(disk.asked) == 1
    assert mounts() == ""


def mounted(root: Path, *places: str) -> CachePartitionOpener:
    table = root / "proc/self/mountinfo"
    table.parent.mkdir(parents=True)
    rows = (f"{n} 35 98:0 /cache {place} rw - ext4 a rw\n" for n, place in enumerate(places))
    table.write_text("".join(rows))
    return CachePartitionOpener(FakeBootDisk([None]), root=root)


def test_a_mount_of_a_killed_run_is_reused(tmp_path: Path) -> None:
    cache = mounted(tmp_path, "/", "/cache", "/run/phase-boot/memory")
    assert cache.taken_up(Path("/cache"))
    assert cache.taken_up(Path("/run/phase-boot/memory"))


def test_a_mount_below_or_beside_ours_is_not_ours(tmp_path: Path) -> None:
    assert not mounted(tmp_path, "/cache2", "/cache/cas", "/x/cache").taken_up(Path("/cache"))


def test_without_a_mount_table_no_mount_is_reused(tmp_path: Path) -> None:
    assert not CachePartitionOpener(FakeBootDisk([None]), root=tmp_path).taken_up(Path("/cache"))
