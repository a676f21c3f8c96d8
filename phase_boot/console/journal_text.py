"""Renders a journal for the Seed Shell's screen and for the report on the stick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from phase_boot.console.lines import Fields, line_for, printable

MAX_REPORT: Final = 256 * 1024
"""Largest report in bytes."""


def timeline(events: Iterable[Fields], *, start: float = 0.0) -> tuple[str, ...]:
    """Return a line, of any length, for each event that the console shows."""
    lines = (line_for(event, start=start) for event in events)
    return tuple(line for line in lines if line is not None)


def in_full(events: Iterable[Fields], *, start: float = 0.0) -> tuple[str, ...]:
    """Return each event with all its fields, in one line of any length."""
    return tuple(_in_full(event, start) for event in events)


def boot_id(events: Sequence[Fields]) -> str:
    """Return the boot id of the last event."""
    return str(events[-1].get("boot_id", "")) if events else ""


def report_text(
    facts: Iterable[tuple[str, object]],
    refusals: Sequence[str],
    *,
    events: Iterable[Fields],
    journal: str,
) -> str:
    """Return the text of a report, at most `MAX_REPORT` bytes of ASCII.

    Args:
        facts: names and values, in order.
        refusals: the reason of each refused candidate.
        events: the events of the timeline, oldest first.
        journal: the journal, one event a line; the end is kept of one that is too long.
    """
    lines = journal.splitlines()
    head = [
        "Phase Boot report",
        *(f"{name + ':':<10} {printable(value)}" for name, value in facts),
        "",
        "Timeline",
        *timeline(events),
        "",
        "Refused",
        *(f"- {printable(said)}" for said in refusals or ("nothing",)),
        "",
        "Journal",
        "",
    ]
    top = _ascii("\n".join(head))[: MAX_REPORT // 2]
    rest = _ascii("\n".join(map(printable, lines)) + "\n")
    left = MAX_REPORT - len(top)
    return top + (rest if len(rest) <= left else rest[-left:].partition("\n")[2])


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


def _in_full(event: Fields, start: float) -> str:
    values = ((k, v) for k, v in event.items() if k not in {"event", "seq", "at", "boot_id"})
    said = (f"{k}={list(v) if isinstance(v, tuple) else v}" for k, v in values)
    try:
        at = float(event.get("at", 0)) - start
    except (TypeError, ValueError):
        at = 0.0
    return f"{at:8.2f}s {printable(event.get('event'))} {printable(' '.join(said))}".rstrip()
