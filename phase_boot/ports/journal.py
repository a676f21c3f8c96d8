"""The journal, as a handler may see it: read it, and make it safe."""

from __future__ import annotations

from typing import Protocol


class JournalReader(Protocol):
    """The journal of this run."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines so far, oldest first, without newlines; of many attempts not all are kept."""

    def flush(self) -> None:
        """Return when every line is where the jump cannot lose it; never raises."""
