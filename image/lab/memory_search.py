"""Looking for words in what a guest's memory held, without holding it in ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

WINDOW: Final = 4 << 20
ENOUGH: Final = 16
"""So many places of one word are told; more would say nothing new."""


def spellings(word: str | bytes) -> tuple[bytes, ...]:
    """How `word` may stand in memory: as UTF-8 and, as firmware writes it, as UTF-16LE."""
    if isinstance(word, bytes):
        return (word,)
    return (word.encode(), word.encode("utf-16-le"))


def places(path: Path, words: Sequence[str | bytes]) -> dict[str | bytes, tuple[int, ...]]:
    """Where in the file `path` each of `words` stands, in any spelling; at most ENOUGH places.

    Every word is a key of what is returned. Reads the file once, WINDOW bytes at a time.

    Raises ValueError for a word that is empty, which would stand everywhere.
    """
    if not all(words):
        raise ValueError("an empty word stands everywhere; look for another one")
    needles = [(word, spelling) for word in words for spelling in spellings(word)]
    overlap = max((len(spelling) for _, spelling in needles), default=1) - 1
    found: dict[str | bytes, set[int]] = {word: set() for word in words}
    with path.open("rb") as file:
        at, kept = 0, b""
        while piece := file.read(WINDOW):
            window = kept + piece
            for word, spelling in needles:
                found[word].update(_within(window, spelling, at, ENOUGH - len(found[word])))
            kept = window[-overlap:] if overlap else b""
            at += len(window) - len(kept)
    return {word: tuple(sorted(where)[:ENOUGH]) for word, where in found.items()}


def _within(window: bytes, spelling: bytes, at: int, room: int) -> list[int]:
    """The places of `spelling` in `window`, which begins `at`; some may be known already."""
    found: list[int] = []
    place = window.find(spelling)
    while place >= 0 and len(found) <= room:
        found.append(at + place)
        place = window.find(spelling, place + 1)
    return found
