"""The base of every event record, which imports nothing, so that every room can define events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact worth a line in the journal.

    Attributes:
        lasting: whether it says what holds until something else changes. An attempt at a boot that
            finds the same as the one before it writes no further line (`journal/lasting.py`).
    """

    event: ClassVar[str]
    lasting: ClassVar[bool] = False
