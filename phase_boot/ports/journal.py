"""Port of the journal for handlers, which may read and flush it but write by `Ports.emit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class JournalReader(Protocol):
    """The journal of this run."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The recent lines, oldest first, without newlines; old ones are dropped at some point."""

    @property
    def newest(self) -> tuple[Mapping[str, object], ...]:
        """The fields of the newest events without progress, oldest first."""

    def flush(self) -> None:
        """Return when every line is stored so that the jump does not lose it; never raises."""
