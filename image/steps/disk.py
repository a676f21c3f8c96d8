"""Write the partition table and the partitions into one image file."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from image import gpt
from image.steps.filesystems import sparse
from image.tools import Tool, environment, find

CHUNK = 1024 * 1024


def assemble(contents: Sequence[tuple[gpt.Partition, Path]], uuid: str, out: Path) -> None:
    """Create the disk image ``out`` with ``contents`` in order; runs of zeros stay holes."""
    files = {partition.name: path for partition, path in contents}
    placed = gpt.place([partition for partition, _ in contents])
    sparse(out, gpt.disk_size(placed))
    subprocess.run(
        [find(Tool.SFDISK), "--quiet", "--no-reread", "--no-tell-kernel", out],
        input=gpt.script(placed, uuid).encode(),
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with out.open("r+b") as disk:
        for each in placed:
            copy_sparse(files[each.partition.name], disk.fileno(), each.start)


def copy_sparse(source: Path, disk: int, start: int) -> None:
    """Copy ``source`` to offset ``start`` of the descriptor ``disk``, leaving zeros as holes."""
    with source.open("rb") as file:
        offset = 0
        while chunk := file.read(CHUNK):
            if chunk.count(0) != len(chunk):
                os.pwrite(disk, chunk, start + offset)
            offset += len(chunk)
