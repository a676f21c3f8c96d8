"""The base class of all events. It imports nothing, so every package can define events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact that is written as one line of a journal or log.

    Attributes:
        deduplicated: whether the event states a condition rather than an action. An attempt to boot
            that finds the same condition as the previous attempt writes no second line
            (`journal/journal.py`).
    """

    event: ClassVar[str]
    deduplicated: ClassVar[bool] = False
