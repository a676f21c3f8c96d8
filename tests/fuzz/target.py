"""What a target is, and where its cases are. Imports no reader: those are instrumented first."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
"""A folder per target: cases that once broke it, or that are hard to find."""
NAMES: Final = (
    "answer",
    "bitswap",
    "car",
    "car_span",
    "cid",
    "dag",
    "gpt",
    "handoff",
    "ipns_record",
    "job",
    "kad_message",
    "load_option",
    "manifest",
    "mdns",
    "mdns_packet",
    "policy",
    "providers",
    "receipt",
    "root",
    "url",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A reader under attack."""

    one: Callable[[bytes], None]
    """Return for every case that is refused as documented or accepted as promised."""
    starts: Mapping[str, bytes]
    """Cases to start from, by what they are."""
    max_len: int
    """Bytes of the longest case that is tried."""
    words: tuple[bytes, ...] = ()
    """What is worth inserting."""


def load(name: str) -> Target:
    """Return the target called ``name``."""
    found = importlib.import_module(f"tests.fuzz.{name}").TARGET
    assert isinstance(found, Target)
    return found


def kept(name: str) -> dict[str, bytes]:
    """Return the cases that are kept for ``name``, by their file names."""
    folder = CORPUS / name
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.name: file.read_bytes() for file in files}
