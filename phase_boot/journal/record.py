"""A record: an event with the stamps of its journal, and its one encoding as a line of JSON.

All journals and logs use this encoder: a boot's, Plasma's on the target, and a provider's. A sink
in this process reads the event or its fields; only a reader in another process parses the line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final

from phase_boot.journal.event import Event

DIGITS: Final = 4
"""Decimal places of every number of seconds."""
MAX_EARLIER: Final = 1024 * 1024
"""Bytes of the previous run's journal that a daemon reads, and whose lines it counts."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """An event as it was written.

    Attributes:
        seq: number of the event in its run, from 0.
        at: seconds since the running kernel started.
        boot_id: random name of the run; None on the target, whose run has none.
    """

    event: Event
    seq: int
    at: float
    boot_id: str | None = None

    @cached_property
    def fields(self) -> Mapping[str, object]:
        """The name of the event, its stamps and its fields, in the order of the line."""
        run = {} if self.boot_id is None else {"boot_id": self.boot_id}
        stamps = {"event": self.event.event, **run, "seq": self.seq, "at": _plain(self.at)}
        return {**stamps, **values_of(self.event)}

    @cached_property
    def line(self) -> str:
        """The record as one line of JSON, without a newline; encoded at the first use."""
        return encoded(self.fields)


def values_of(event: Event) -> dict[str, object]:
    """Return the fields of ``event`` with numbers rounded to `DIGITS`."""
    return {field.name: _plain(getattr(event, field.name)) for field in fields(event)}


def encoded(values: Mapping[str, object]) -> str:
    """Return one line of ASCII JSON (RFC 8259).

    All other characters are escaped, so no control sequence of a peer reaches a terminal. A value
    that JSON cannot express becomes its ``repr``: writing an event must not fail.
    """
    return json.dumps(values, default=repr)


def decoded(line: str) -> Mapping[str, object] | None:
    """Return the fields in a line that another process wrote; None if it is no event."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _plain(value: object) -> object:
    return round(value, DIGITS) if isinstance(value, float) else value
