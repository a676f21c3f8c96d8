"""Further root keys, and the root that an image carries."""

from __future__ import annotations

from typing import Final

from phase_boot.drill.sample_root import ROOT_1
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.root import Root, load_trusted

SECOND_ROOT_KEY: Final = SigningKey(b"\x12" * 32)
THIRD_ROOT_KEY: Final = SigningKey(b"\x13" * 32)


def first_root() -> Root:
    """Return the root that the image carries."""
    return load_trusted(ROOT_1)
