"""The programs that compress an initramfs, as mkinitramfs and dracut call them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from tests.support.required_programs import needed

COMPRESSORS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "none": (),
        "gzip": ("gzip", "-9", "-n", "-c"),
        "bzip2": ("bzip2", "-9", "-c"),
        "xz": ("xz", "--check=crc32", "-c"),
        "lzma": ("xz", "--format=lzma", "-c"),
        "lzop": ("lzop", "-9", "-c"),
        "lz4": ("lz4", "-l", "-9", "-c"),
        "zstd": ("zstd", "-19", "-q", "-c"),
    }
)
PACKAGES: Final[Mapping[str, str]] = MappingProxyType({"xz": "xz-utils"})
"""Packages whose name differs from their program's."""


def packed(compression: str, data: bytes) -> bytes:
    """Return ``data`` compressed by the program."""
    argv = COMPRESSORS[compression]
    if not argv:
        return data
    program = needed(argv[0], PACKAGES.get(argv[0], argv[0]))
    done = subprocess.run([program, *argv[1:]], input=data, capture_output=True, check=True)
    return done.stdout
