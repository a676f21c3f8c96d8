"""The sha256 of a byte string, which is the name that it is stored and requested by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

PREFIX: Final = "sha256:"
_HEX: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256 as 64 lower-case hex digits, so it is safe as a file name.

    Raises:
        ValueError: ``hex`` is anything else.
    """

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise ValueError("a sha256 digest is 64 lower-case hex digits")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``sha256:<64 hex>``; raise ValueError for anything else."""
        if not text.startswith(PREFIX):
            raise ValueError(f"a digest starts with {PREFIX}")
        return cls(text.removeprefix(PREFIX))

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the digest of ``data``."""
        return cls(hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return PREFIX + self.hex
