"""Lists of patterns: one a line; ``#`` starts a comment."""

from __future__ import annotations

from pathlib import Path


def parse_patterns(text: str) -> tuple[str, ...]:
    """Return the patterns of a list."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(line for line in lines if line)


def read_patterns(path: Path) -> tuple[str, ...]:
    """Return the patterns of the list in the file ``path``."""
    return parse_patterns(path.read_text(encoding="utf-8"))
