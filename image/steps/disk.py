"""Write the partition table and the partitions into one disk image."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from image import gpt, identifiers
from image.sparse_files import copy_sparse, create_sparse
from image.tools import Tool, environment, find

ESP_TYPE: Final = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
CACHE_TYPE: Final = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
NO_AUTO_MOUNT: Final = "GUID:63"
READ_ONLY: Final = "GUID:60"
VERITY_SHARE: Final = 0.02
"""Room after the squashfs for a dm-verity hash tree (measured: 0.8 %); its header takes 1 MiB."""
MIB: Final = 1024 * 1024


def make_disk(root_type: str, esp: Path, squashfs: Path, cache: Path, out: Path) -> None:
    """Create the disk image ``out`` with the three partitions.

    Args:
        root_type: the type GUID of a root partition of the architecture.
        esp: the ESP's file system.
        squashfs: the seed's root.
        cache: the Cache's file system.
        out: the file to create.
    """
    packed = squashfs.stat().st_size
    seed_size = packed + int(packed * VERITY_SHARE) + MIB
    own = identifiers.identifiers(squashfs, esp, cache)
    partitions = (
        _partition("esp", ESP_TYPE, own.esp, esp.stat().st_size),
        _partition("seed", root_type, own.seed, seed_size, READ_ONLY, NO_AUTO_MOUNT),
        _partition("cache", CACHE_TYPE, own.cache, cache.stat().st_size, NO_AUTO_MOUNT),
    )
    _assemble(list(zip(partitions, (esp, squashfs, cache), strict=True)), own.disk, out)


def _partition(name: str, kind: str, uuid: str, size: int, *attributes: str) -> gpt.Partition:
    return gpt.Partition(
        name=f"phase-{name}",
        type=kind,
        uuid=uuid,
        size=size,
        attributes=" ".join(attributes),
    )


def _assemble(contents: Sequence[tuple[gpt.Partition, Path]], uuid: str, out: Path) -> None:
    files = {partition.name: path for partition, path in contents}
    placed = gpt.lay_out([partition for partition, _ in contents])
    create_sparse(out, gpt.disk_size(placed))
    subprocess.run(
        [find(Tool.SFDISK), "--quiet", "--no-reread", "--no-tell-kernel", out],
        input=gpt.sfdisk_script(placed, uuid).encode(),
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with out.open("r+b") as disk:
        for each in placed:
            copy_sparse(files[each.partition.name], disk.fileno(), each.start)
