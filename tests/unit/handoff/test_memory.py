"""The memory estimate of a hand-over is an upper bound."""

from __future__ import annotations

from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.handoff.memory import MARGIN, required_to_fetch_and_start, required_to_start

SIZES = {"kernel": 10, "initramfs": 4, "rootfs": 30}
IMAGE = {name: Artifact(name, Digest.of(name.encode()), size) for name, size in SIZES.items()}


def test_the_memory_estimate_counts_the_file_the_read_and_the_loaded_copy() -> None:
    assert required_to_start(IMAGE, rootfs_on_cache=True) == 3 * (10 + 4) + MARGIN
    assert required_to_start(IMAGE, rootfs_on_cache=False) == 3 * (10 + 4 + 30) + MARGIN


def test_a_store_in_memory_adds_one_copy_to_the_estimate() -> None:
    on_cache = required_to_fetch_and_start(IMAGE, rootfs_on_cache=True)
    assert on_cache == required_to_start(IMAGE, rootfs_on_cache=True)
    in_memory = required_to_fetch_and_start(IMAGE, rootfs_on_cache=False)
    assert in_memory == required_to_start(IMAGE, rootfs_on_cache=False) + 10 + 4 + 30
