"""Decides what a terminal, pipe or file can show; no other module does.

Output never has colours, so NO_COLOR (https://no-color.org) changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TextIO

COLUMNS: Final = 79
"""Columns of a line on a terminal that reports no width."""
DUMB: Final = frozenset({"dumb", "unknown"})
"""Values of TERM for terminals without cursor movement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """Capabilities of an output.

    Attributes:
        folds: whether lines are folded to the width; a file or a pipe gets whole lines.
        moves: whether escape sequences may move the cursor, to redraw a line.
        columns: returns the columns that a line may take now.
    """

    folds: bool = False
    moves: bool = False
    columns: Callable[[], int] = lambda: COLUMNS


FILE: Final = Display()


def display_of(stream: TextIO) -> Display:
    """Return the capabilities of ``stream``, by its kind and by TERM."""
    if not stream.isatty():
        return FILE
    return Display(folds=True, moves=not is_dumb(), columns=lambda: columns_of(stream.fileno()))


def is_dumb(*, usual: str = "dumb") -> bool:
    """Return whether the terminal cannot move its cursor; ``usual`` is the default of TERM."""
    return (os.environ.get("TERM") or usual) in DUMB


def columns_of(descriptor: int) -> int:
    """Return the columns of a line on a terminal: one less than its width."""
    try:
        columns = os.get_terminal_size(descriptor).columns
    except OSError:
        return COLUMNS
    # A serial line, and a pseudo-terminal without a set size, report 0.
    return columns - 1 if columns > 0 else COLUMNS
