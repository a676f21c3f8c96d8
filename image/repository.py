"""Paths of the repository and of the build folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
"""The folder of the repository."""
BUILD: Final = ROOT / "build"
"""Results of build steps, one folder per architecture; `make clean` removes it."""
