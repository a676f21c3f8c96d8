"""Kernel options that the seed requires (SPEC row M1.3), and their check."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from image.errors import BuildError
from phase_boot.content.arch import Arch

REQUIRED: Final = (
    "KEXEC",
    "OVERLAY_FS",
    "WIREGUARD",
    "FUSE_FS",
    "SQUASHFS",
    "SQUASHFS_LZ4",
    "DM_VERITY",
    "EXT4_FS",
    "VFAT_FS",
    "EFIVAR_FS",
    "EFI_STUB",
    "DEVTMPFS",
    "TMPFS",
    "RD_ZSTD",
    "BLK_DEV_INITRD",
    "VIRTIO_CONSOLE",
    "MODULES",
    "MODULE_DECOMPRESS",
)
BESIDES: Final[Mapping[Arch, tuple[str, ...]]] = {
    Arch.AMD64: ("KEXEC_FILE",),
    Arch.ARM64: (),  # Debian's arm64 kernel has no kexec_file_load, so kexec_load is used
}
LINE: Final = re.compile(r"^CONFIG_(\w+)=([ym])$", re.MULTILINE)


class KernelOptionMissing(BuildError):
    """A kernel that cannot run the seed; the text names the missing options."""


def options(config: str) -> frozenset[str]:
    """Return the options that ``config`` builds in or as modules, without CONFIG_."""
    return frozenset(match[1] for match in LINE.finditer(config))


def missing(config: str, arch: Arch) -> tuple[str, ...]:
    """Return the required options that ``config`` lacks, in order."""
    present = options(config)
    return tuple(option for option in (*REQUIRED, *BESIDES[arch]) if option not in present)


def check(config: str, arch: Arch) -> None:
    """Refuse a kernel that lacks a required option.

    Raises:
        KernelOptionMissing: An option is missing.
    """
    lacking: Iterable[str] = missing(config, arch)
    if lacking:
        names = ", ".join(f"CONFIG_{option}" for option in lacking)
        raise KernelOptionMissing(f"the {arch} kernel lacks {names}; the seed cannot run on it")
