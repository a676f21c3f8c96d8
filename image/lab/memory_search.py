"""Search a memory dump for strings, with constant memory of our own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

WINDOW: Final = 4 << 20
MAX_MATCHES: Final = 16
"""At most this many matches of a string are returned."""


def encodings(text: str | bytes) -> tuple[bytes, ...]:
    """Return the encodings of `text` in memory: UTF-8, and UTF-16LE as UEFI firmware uses it."""
    if isinstance(text, bytes):
        return (text,)
    return (text.encode(), text.encode("utf-16-le"))


def find_all(path: Path, texts: Sequence[str | bytes]) -> dict[str | bytes, tuple[int, ...]]:
    """Return the offsets of each text in the file `path`, in any encoding, up to MAX_MATCHES.

    Every text is a key of the result. The file is read once, WINDOW bytes at a time.

    Raises:
        ValueError: a text is empty.
    """
    if not all(texts):
        raise ValueError("An empty text is everywhere; search for another one.")
    needles = [(text, needle) for text in texts for needle in encodings(text)]
    overlap = max((len(needle) for _, needle in needles), default=1) - 1
    found: dict[str | bytes, set[int]] = {text: set() for text in texts}
    with path.open("rb") as file:
        at, kept = 0, b""
        while piece := file.read(WINDOW):
            window = kept + piece
            for text, needle in needles:
                limit = MAX_MATCHES - len(found[text])
                found[text].update(_find_in(window, needle, at, limit))
            kept = window[-overlap:] if overlap else b""
            at += len(window) - len(kept)
    return {text: tuple(sorted(offsets)[:MAX_MATCHES]) for text, offsets in found.items()}


def _find_in(window: bytes, needle: bytes, at: int, limit: int) -> list[int]:
    """Return the offsets of `needle` in `window`, which begins at `at`.

    The overlap of two windows can hold matches that are known already, so one more is returned.
    """
    found: list[int] = []
    index = window.find(needle)
    while index >= 0 and len(found) <= limit:
        found.append(at + index)
        index = window.find(needle, index + 1)
    return found
