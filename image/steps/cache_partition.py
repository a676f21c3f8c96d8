"""Make the file system of the Cache partition: ext4 with the folders of an empty store."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from image import identifiers
from image.sparse_files import create_sparse
from image.tools import Tool, epoch, run

LABEL: Final = "phase-cache"
STORE: Final = ("cas", "cas/sha256", "cas/tmp", "cas/corrupt")


def make_cache(size: int, squashfs: Path, esp: Path, out: Path) -> None:
    """Make a Cache of ``size`` bytes, whose UUID follows from the rest of the image."""
    make_ext4(size, identifiers.cache_filesystem(squashfs, esp, size), out)


def make_ext4(size: int, uuid: str, out: Path) -> None:
    """Make an ext4 file system of ``size`` bytes with the folders of an empty store."""
    fixed = {"E2FSPROGS_FAKE_TIME": str(epoch())}
    create_sparse(out, size)
    options = f"root_owner=0:0,hash_seed={uuid},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    run(
        Tool.MKE2FS,
        *("-q", "-t", "ext4", "-m", "0", "-U", uuid, "-L", LABEL, "-E", options),
        out,
        env=fixed,
    )
    # Not `mke2fs -d`: it writes the builder's user id into the image.
    for folder in STORE:
        run(Tool.DEBUGFS, "-w", "-R", f"mkdir {folder}", out, env=fixed)
