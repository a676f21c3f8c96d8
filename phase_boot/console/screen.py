"""Lays out the Seed Shell's screen: ASCII only, within the columns and rows of the terminal.

In ASCII each character takes one column on every terminal, and no foreign text can move the
cursor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import Final

from phase_boot.console.lines import INDENT, printable

MAX_TEXT: Final = 8192
"""Characters of one text that are rendered; the rest is cut."""
CAUSE_ROWS: Final = 4
"""Rows that the cause gets at least, even if the menu then does not fit."""
CAUSE_CHARACTERS: Final = 320
"""Longest cause in characters, where the screen has room."""
REFUSALS: Final = 3
REFUSAL_ROWS: Final = 2
HALF: Final = 34
"""Columns of one item in the two-column menu."""


def plain(text: object) -> str:
    """Return ``text`` in printable ASCII, the rest escaped."""
    shown = printable(str(text)[:MAX_TEXT])
    return shown.encode("ascii", "backslashreplace").decode()


def cut(text: object, columns: int) -> str:
    """Return ``text`` cut to ``columns``."""
    shown = plain(text)
    return shown if len(shown) <= columns else shown[: max(0, columns - 3)] + "..."


def folded(text: object, columns: int, *, rows: int | None = None, indent: str = "") -> list[str]:
    """Return ``text`` folded to ``columns``, at most ``rows`` lines."""
    lines = wrap(plain(text), columns, subsequent_indent=indent, drop_whitespace=True) or [""]
    if rows is not None and len(lines) > rows:
        lines = lines[:rows]
        lines[-1] = cut(lines[-1] + "....", columns)
    return lines


def fitted(line: str, columns: int) -> list[str]:
    """Return ``line`` as one line if it fits, else folded."""
    return [line] if len(line) <= columns else folded(line, columns)


def elided(text: object, columns: int, *, rows: int) -> list[str]:
    """Return ``text`` in at most ``rows`` lines, with its middle left out if it is too long.

    A sentence for a person begins with the cause and ends with the way out.
    """
    lines = folded(text, columns)
    if len(lines) <= rows:
        return lines
    end = rows // 2
    begin = rows - end
    return [*lines[: begin - 1], cut(lines[begin - 1] + "....", columns), *lines[-end:]]


def opening(
    cause: str, refusals: Sequence[str], timeline: Sequence[str], *, columns: int, rows: int
) -> list[str]:
    """Return the head of the screen: cause, refusals, and as many journal lines as fit."""
    width = columns - 1
    most = max(CAUSE_ROWS, min(CAUSE_CHARACTERS // width, rows - 1))
    said = ["", *elided(f"Phase Boot stopped: {sentence(cause)}", width, rows=most)]
    newest: list[str] = []
    for refusal in reversed(refusals[-REFUSALS:]):
        told = folded(f"- refused: {refusal}", width, rows=REFUSAL_ROWS, indent="  ")
        if len(said) + len(newest) + len(told) <= rows:
            newest = told + newest
    said += newest
    # The newest lines; the journal has all of them.
    room = rows - len(said) - 1
    if room <= 0:
        return said
    past = [part for line in timeline[-room:] for part in folded(line, width, indent=INDENT)]
    return [*said, "", *past[-room:]]


def menu(items: Iterable[tuple[str, str]], *, columns: int) -> list[str]:
    """Return the items, letter and label each, in two columns where they fit."""
    entries = [cut(f"  {letter}  {meaning}", columns - 1) for letter, meaning in items]
    if columns < 2 * HALF:
        return entries
    half = (len(entries) + 1) // 2
    left, right = entries[:half], [*entries[half:], ""]
    return [f"{a:<{HALF}}{b}".rstrip() for a, b in zip(left, right, strict=False)]


def pages(lines: Iterable[str], *, columns: int, rows: int) -> list[list[str]]:
    """Return ``lines`` folded into pages that leave one row for a question; at least one page."""
    every = [part for line in lines for part in folded(line, columns - 1, indent="    ")]
    length = max(1, rows - 1)
    return [every[at : at + length] for at in range(0, len(every), length)] or [["(nothing)"]]


def sentence(text: str) -> str:
    """Return ``text`` with one full stop at its end."""
    return text.rstrip().rstrip(".") + "."


def numbered(offers: Iterable[tuple[str, str, str | None]], *, columns: int) -> Iterator[str]:
    """Yield one line for each (URL, finder, refusal or None), and one for the refusal."""
    for number, (url, finder, refused) in enumerate(offers, start=1):
        yield cut(f"{number:>4}  {finder}: {url}", columns - 1)
        if refused is not None:
            yield cut(f"      refused before: {refused}", columns - 1)
