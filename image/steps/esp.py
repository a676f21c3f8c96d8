"""Make the ESP: systemd-boot, its entries, kernel and initramfs on a FAT32 file system."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image import identifiers
from image.sparse_files import create_sparse
from image.tools import Tool, epoch, run
from loader.entries import configuration, menu

KERNEL_PATH: Final = "/phase/vmlinuz"
INITRAMFS_PATH: Final = "/phase/initramfs"
LABEL: Final = "PHASE-ESP"
SEED_WORD: Final = "phase.seed"
"""The word of the kernel command line that names the Seed partition to the initramfs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EspContents:
    """The files of an ESP.

    Attributes:
        loader: systemd-boot.
        kernel: the kernel.
        initramfs: the initramfs.
        squashfs: the seed's root, whose hash gives the identifier of its partition.
    """

    loader: Path
    kernel: Path
    initramfs: Path
    squashfs: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EspSettings:
    """Settings of the loader's entries, and the size of the ESP.

    Attributes:
        efi_suffix: the architecture's suffix in EFI file names.
        kernel_options: the command line that the entries share.
        menu_seconds: how long the menu waits.
        version: the version that the entries show.
        size: bytes.
    """

    efi_suffix: str
    kernel_options: str
    menu_seconds: int
    version: str
    size: int


def make_esp(contents: EspContents, settings: EspSettings, out: Path) -> None:
    """Make an ESP whose entries start the kernel with the Seed partition of the same image."""
    seed_word = f"{SEED_WORD}={identifiers.seed_identifier(contents.squashfs)}"
    options = {
        "linux": KERNEL_PATH,
        "initrd": INITRAMFS_PATH,
        "options": f"{settings.kernel_options} {seed_word}",
    }
    files = {
        f"EFI/BOOT/BOOT{settings.efi_suffix.upper()}.EFI": contents.loader.read_bytes(),
        "loader/loader.conf": configuration(timeout=settings.menu_seconds).encode(),
        KERNEL_PATH.lstrip("/"): contents.kernel.read_bytes(),
        INITRAMFS_PATH.lstrip("/"): contents.initramfs.read_bytes(),
    }
    for entry in menu(version=settings.version, **options):
        files[f"loader/entries/{entry.name}.conf"] = entry.text().encode()
    size = settings.size
    make_fat32(files, size, identifiers.esp_serial(files, size), out)


def make_fat32(files: Mapping[str, bytes], size: int, serial: str, out: Path) -> None:
    """Make a FAT32 file system of ``size`` bytes that holds ``files`` (path to bytes)."""
    create_sparse(out, size)
    # `--invariant` sets a serial number of its own, which the later `-i` overrides.
    run(Tool.MKFS_FAT, "--invariant", "-F", "32", "-i", serial, "-n", LABEL, out)
    for folder in sorted({str(p) for path in files for p in Path(path).parents} - {"."}):
        run(Tool.MMD, "-i", out, f"::{folder}")
    staged = out.with_name(out.name + ".file")
    for path, data in sorted(files.items()):
        staged.write_bytes(data)
        os.utime(staged, (epoch(), epoch()))
        run(Tool.MCOPY, "-m", "-i", out, staged, f"::{path}")
    staged.unlink()
