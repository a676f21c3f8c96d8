"""The person at the console, if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Protocol

from phase_boot.ports.network import Setup


class MenuAction(StrEnum):
    """What a person may ask for. Booting what was refused is not among it (SPEC M4.5)."""

    RETRY = auto()
    CANDIDATE = auto()
    """Look again, and name what is to be tried first."""
    URL = auto()
    NETWORK = auto()
    CLOCK = auto()
    """Set the system clock, and begin anew with it."""
    SAVE = auto()
    ROOT_SHELL = auto()
    REBOOT = auto()
    POWER_OFF = auto()
    QUIT = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """The chosen action with its argument: a URL, a network configuration, or a time."""

    action: MenuAction
    url: str | None = None
    setup: Setup | None = None
    wall: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the person is told, and what they may ask for.

    Attributes:
        cause: what went wrong, in one sentence.
        way_out: what can be done about it, in one sentence.
        refusals: one sentence for each candidate that failed, oldest first.
        journal: what happened so far, as the journal spells it, oldest first.
        mode: internet, local or private, if that is known.
        actions: the permitted actions; any other is refused.
        interfaces: the network interfaces that can be set up.
        note: the result of the previous action, in one sentence.
        retry_in: seconds until the machine tries again by itself unless a key is pressed, as a
            countdown to show; None if it waits for a person.
    """

    cause: str
    way_out: str
    refusals: tuple[str, ...]
    journal: tuple[str, ...] = ()
    mode: str | None = None
    actions: tuple[MenuAction, ...] = ()
    interfaces: tuple[str, ...] = ()
    note: str | None = None
    retry_in: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateOption:
    """A candidate that turned up: hearsay, as all of them."""

    url: str
    origin: str
    refused: str | None
    """Why it was refused before in this boot, if it was."""


class Operator(Protocol):
    """Asks a person what to do."""

    async def ask(self, report: Report) -> Answer:
        """Show ``report`` and wait for an answer, for ever if need be."""

    async def touched(self) -> None:
        """Return when a key was pressed since `ask` was last called."""

    async def choose(self, options: Sequence[CandidateOption]) -> str | None:
        """Show ``options`` and return the URL of the one that is to be tried, or None for none."""

    async def perform(self, action: MenuAction) -> None:
        """Carry out `REBOOT` or `POWER_OFF`, or `ROOT_SHELL` to its end; nothing for others."""
