"""Whoever started us, and starts us again if we hang: systemd in the seed."""

from __future__ import annotations

from typing import Protocol


class Supervisor(Protocol):
    """Told that all is well, for as long as it is. Telling never fails and never waits."""

    @property
    def period(self) -> float | None:
        """Seconds between two words that keep it content; None where nobody listens."""

    def ready(self) -> None:
        """Say that the boot has begun."""

    def alive(self, doing: str) -> None:
        """Say that we are not stuck, and what we are at in one word."""
