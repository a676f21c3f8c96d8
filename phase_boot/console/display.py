"""What the place that text goes to can show: the only module that decides it.

Nothing that is shown has a colour, so that NO_COLOR (https://no-color.org) changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TextIO

COLUMNS: Final = 79
"""Columns that a line may take on a terminal that does not say how wide it is."""
DUMB: Final = frozenset({"dumb", "unknown"})
"""What TERM calls a terminal that shows lines and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """A terminal, or something else that text goes to.

    Attributes:
        folds: whether lines are folded to its width; a file or a pipe gets them whole.
        moves: whether escape sequences may move its cursor, to draw over what is there.
        columns: returns how many columns a line may take now.
    """

    folds: bool = False
    moves: bool = False
    columns: Callable[[], int] = lambda: COLUMNS


FILE: Final = Display()


def display_of(stream: TextIO) -> Display:
    """Return what ``stream`` can show, by what it is and by TERM."""
    if not stream.isatty():
        return FILE
    return Display(folds=True, moves=not is_dumb(), columns=lambda: columns_of(stream.fileno()))


def is_dumb(*, usual: str = "dumb") -> bool:
    """Say whether the terminal shows lines and nothing else; ``usual`` counts without a TERM."""
    return (os.environ.get("TERM") or usual) in DUMB


def columns_of(descriptor: int) -> int:
    """Return how many columns a line may take on a terminal, one less than it has."""
    try:
        columns = os.get_terminal_size(descriptor).columns
    except OSError:
        return COLUMNS
    # A serial line, and a pseudo-terminal that nobody gave a size, say 0.
    return columns - 1 if columns > 0 else COLUMNS
