"""Where artifacts go: the right stick's Cache, a folder, or memory that leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from phase_boot.adapters.shelves import FolderCache, StickCache
from phase_boot.store.cas import Cas
from phase_boot.store.digest import Digest
from phase_boot.trust.manifest import Artifact

DATA = b"kernel" * 100
ARTIFACT = Artifact("kernel", Digest.of(DATA), len(DATA))


def stored(cas: Cas) -> None:
    with cas.writer(ARTIFACT) as writer:
        writer.write(DATA)
        writer.commit()


def entries(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def block_device(root: Path, disk: str, partition: str, name: str) -> None:
    folder = root / "sys/class/block" / disk / partition
    folder.mkdir(parents=True)
    (folder / "uevent").write_text(f"MAJOR=8\nPARTN=3\nPARTNAME={name}\n")


def booted_from(root: Path, disk: str) -> None:
    mark = root / "run/phase-boot/disk"
    mark.parent.mkdir(parents=True)
    mark.write_text(disk + "\n")


async def test_what_a_folder_keeps_is_there_the_next_time(tmp_path: Path) -> None:
    first = await FolderCache(tmp_path / "cas").open(persistent=True, bound=1 << 20)
    stored(first.cas)
    again = await FolderCache(tmp_path / "cas").open(persistent=True, bound=1 << 20)
    assert again.cas.has(ARTIFACT)
    assert again.persistent


async def test_a_store_in_memory_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = FolderCache(tmp_path / "cas")
    shelf = await cache.open(persistent=False, bound=1 << 20)
    stored(shelf.cas)
    assert not shelf.persistent
    await cache.release()
    assert not shelf.cas.has(ARTIFACT)
    assert entries(tmp_path) == []


def test_cache_is_looked_for_on_the_stick_we_came_from_and_nowhere_else(tmp_path: Path) -> None:
    block_device(tmp_path, "sda", "sda3", "phase-cache")
    block_device(tmp_path, "sdb", "sdb1", "phase-esp")
    block_device(tmp_path, "sdb", "sdb3", "phase-cache")
    booted_from(tmp_path, "sdb")
    assert StickCache(root=tmp_path).partition() == "/dev/sdb3"


@pytest.mark.parametrize("disk", ["sdb", "../../../etc", ""])
def test_a_stick_without_a_cache_has_none(disk: str, tmp_path: Path) -> None:
    block_device(tmp_path, "sda", "sda3", "phase-cache")
    block_device(tmp_path, "sdb", "sdb1", "phase-cache-of-somebody-else")
    booted_from(tmp_path, disk)
    assert StickCache(root=tmp_path).partition() is None


def test_a_seed_that_does_not_know_its_stick_uses_no_cache(tmp_path: Path) -> None:
    block_device(tmp_path, "sda", "sda3", "phase-cache")
    assert StickCache(root=tmp_path).partition() is None


def mounted(root: Path, *places: str) -> StickCache:
    table = root / "proc/self/mountinfo"
    table.parent.mkdir(parents=True)
    rows = (f"{n} 35 98:0 /cache {place} rw - ext4 a rw\n" for n, place in enumerate(places))
    table.write_text("".join(rows))
    return StickCache(root=root)


def test_what_a_killed_run_left_mounted_is_taken_up(tmp_path: Path) -> None:
    cache = mounted(tmp_path, "/", "/cache", "/run/phase-boot/memory")
    assert cache.taken_up(Path("/cache"))
    assert cache.taken_up(Path("/run/phase-boot/memory"))


def test_a_mount_below_or_beside_ours_is_not_ours(tmp_path: Path) -> None:
    assert not mounted(tmp_path, "/cache2", "/cache/cas", "/x/cache").taken_up(Path("/cache"))


def test_where_nothing_is_known_of_mounts_nothing_is_taken_up(tmp_path: Path) -> None:
    assert not StickCache(root=tmp_path).taken_up(Path("/cache"))
