"""The person at the console, if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Protocol


class Wish(StrEnum):
    """What a person may ask for. Booting what was refused is not among it (SPEC M4.5)."""

    RETRY = auto()
    URL = auto()
    REBOOT = auto()
    POWER_OFF = auto()
    QUIT = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """A wish, and the manifest URL that was typed with `Wish.URL`."""

    wish: Wish
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the person is told: one sentence of cause, one with the way out, and the history."""

    cause: str
    way_out: str
    refusals: tuple[str, ...]


class Operator(Protocol):
    """Asks a person what to do."""

    async def ask(self, report: Report) -> Answer:
        """Show ``report`` and wait for an answer, for ever if need be."""

    async def obey(self, wish: Wish) -> None:
        """Carry out `REBOOT` or `POWER_OFF`; do nothing for the others."""
