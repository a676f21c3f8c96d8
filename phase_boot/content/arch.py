"""The processor architectures that a manifest can be for, under Debian's names."""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Final, Self


@unique
class Arch(StrEnum):
    """A processor architecture."""

    AMD64 = "amd64"
    ARM64 = "arm64"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read Debian's name or the kernel's; raise ValueError for any other."""
        return cls(_ALIASES.get(text, text))


_ALIASES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
