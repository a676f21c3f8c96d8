"""Renders a journal for the Seed Shell's screen and for the report on the stick."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from phase_boot.console.lines import Fields, line_for, printable

MAX_EVENTS: Final = 1000
"""Events of a journal that are rendered, the newest; progress events do not count."""
MAX_REPORT: Final = 256 * 1024
"""Largest report in bytes."""


def events(journal: Sequence[str]) -> tuple[Fields, ...]:
    """Return the newest events of ``journal``, oldest first; skip lines that are not events."""
    told = (event for event in map(_event, reversed(journal)) if event)
    return tuple(islice(told, MAX_EVENTS))[::-1]


def timeline(journal: Sequence[str], *, start: float = 0.0) -> tuple[str, ...]:
    """Return a line, of any length, for each event that the console shows."""
    lines = (line_for(event, start=start) for event in events(journal))
    return tuple(line for line in lines if line is not None)


def in_full(journal: Sequence[str], *, start: float = 0.0) -> tuple[str, ...]:
    """Return each event with all its fields, in one line of any length."""
    return tuple(_in_full(event, start) for event in events(journal))


def boot_id(journal: Sequence[str]) -> str:
    """Return the boot id of the last event of ``journal``."""
    return next((str(event.get("boot_id", "")) for event in reversed(events(journal))), "")


def report_text(facts: Iterable[tuple[str, object]], refusals: Sequence[str], journal: str) -> str:
    """Return the text of a report, at most `MAX_REPORT` bytes of ASCII.

    Args:
        facts: names and values, in order.
        refusals: the reason of each refused candidate.
        journal: the journal, one event a line; the end is kept of one that is too long.
    """
    lines = journal.splitlines()
    head = [
        "Phase Boot report",
        *(f"{name + ':':<10} {printable(value)}" for name, value in facts),
        "",
        "Timeline",
        *timeline(lines),
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


def _event(line: str) -> Fields | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(event, dict) and event.get("event") != "fetch.progress"
    return event if known else None


def _in_full(event: Fields, start: float) -> str:
    said = (f"{k}={v}" for k, v in event.items() if k not in {"event", "seq", "at", "boot_id"})
    try:
        at = float(event.get("at", 0)) - start
    except (TypeError, ValueError):
        at = 0.0
    return f"{at:8.2f}s {printable(event.get('event'))} {printable(' '.join(said))}".rstrip()
