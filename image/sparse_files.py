"""Sparse files: an image of 800 MiB that holds 130 MiB of data takes no more room than that."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

CHUNK: Final = 1024 * 1024


def create_sparse(path: Path, size: int) -> None:
    """Create a file of ``size`` bytes that occupies no blocks."""
    with path.open("wb") as file:
        file.truncate(size)


def copy_sparse(source: Path, descriptor: int, start: int) -> None:
    """Copy ``source`` to offset ``start`` of an open file; chunks of zeros stay holes."""
    with source.open("rb") as file:
        offset = 0
        while chunk := file.read(CHUNK):
            if chunk.count(0) != len(chunk):
                os.pwrite(descriptor, chunk, start + offset)
            offset += len(chunk)
