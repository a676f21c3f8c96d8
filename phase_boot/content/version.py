"""Versions of a release: dotted non-negative integers, compared number by number."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Self

MAX_VERSION_LENGTH: Final = 64
"""Characters of the longest version."""
_SHAPE: Final = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version such as ``2025.11.12``; ``2025.11.12`` < ``2025.11.12.1``.

    Leading zeros are ignored (``2025.10.01`` equals ``2025.10.1``), but ``str`` keeps them.
    """

    numbers: tuple[int, ...]
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a version; raise ValueError for anything but dotted digits, 64 at most."""
        if len(text) > MAX_VERSION_LENGTH or not _SHAPE.fullmatch(text):
            raise ValueError("a version is dotted whole numbers such as 2025.11.12")
        return cls(tuple(int(number) for number in text.split(".")), text)

    def __str__(self) -> str:
        return self.text
