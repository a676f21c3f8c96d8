"""Make the three file systems of the stick."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from image.tools import Tool, epoch, run

SEED_OPTIONS: Final = ("-comp", "lz4", "-Xhc", "-b", "128K", "-no-fragments")
"""lz4 and no fragments: half again as large as the smallest, and a third of the start-up saved.

Counted in instructions up to the daemon's first event (amd64, 2026-11): zstd 18.4, zstd without
fragments 16.6, lz4 15.1, lz4 without fragments 13.3 units.
"""
TARGET_OPTIONS: Final = ("-comp", "zstd", "-Xcompression-level", "15", "-b", "64K", "-no-fragments")
"""Content-defined chunks of two versions stay alike where blocks are small and stand alone.

Every boot fetches and hashes all of it, and reads a part: with zstd it is a sixth smaller than with
lz4 (46.2 and 56.2 MB, amd64, 2026-11), and one emulated boot with each took as much processor time.
"""
STORE: Final = ("cas", "cas/sha256", "cas/tmp", "cas/corrupt")


def squashfs(tree: Path, options: tuple[str, ...], out: Path) -> None:
    """Pack ``tree`` as a squashfs owned by root; time stamps come from SOURCE_DATE_EPOCH."""
    run(Tool.MKSQUASHFS, tree, out, *options, *("-all-root", "-no-xattrs", "-noappend", "-quiet"))


def fat32(files: Mapping[str, bytes], size: int, serial: str, label: str, out: Path) -> None:
    """Make a FAT32 file system of ``size`` bytes that holds ``files`` (path to bytes)."""
    sparse(out, size)
    # `--invariant` sets a serial number of its own: the option after it counts.
    run(Tool.MKFS_FAT, "--invariant", "-F", "32", "-i", serial, "-n", label, out)
    for folder in sorted({str(p) for path in files for p in Path(path).parents} - {"."}):
        run(Tool.MMD, "-i", out, f"::{folder}")
    staged = out.with_name(out.name + ".file")
    for path, data in sorted(files.items()):
        staged.write_bytes(data)
        os.utime(staged, (epoch(), epoch()))
        run(Tool.MCOPY, "-m", "-i", out, staged, f"::{path}")
    staged.unlink()


def ext4(size: int, uuid: str, label: str, out: Path) -> None:
    """Make an ext4 file system of ``size`` bytes with the folders of an empty store."""
    fixed = {"E2FSPROGS_FAKE_TIME": str(epoch())}
    sparse(out, size)
    options = f"root_owner=0:0,hash_seed={uuid},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    run(
        Tool.MKE2FS,
        *("-q", "-t", "ext4", "-m", "0", "-U", uuid, "-L", label, "-E", options),
        out,
        env=fixed,
    )
    # Not `mke2fs -d`: that would write the builder's user id into the image.
    for folder in STORE:
        run(Tool.DEBUGFS, "-w", "-R", f"mkdir {folder}", out, env=fixed)


def sparse(path: Path, size: int) -> None:
    """Create a file of ``size`` bytes that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
