"""Port of the operator: the person at the console, if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Protocol

from phase_boot.ports.network import Setup


class MenuAction(StrEnum):
    """An entry of the Shell's menu. None boots what was refused (SPEC M4.5)."""

    RETRY = auto()
    CANDIDATE = auto()
    """Search again, and choose the candidate to try first."""
    URL = auto()
    NETWORK = auto()
    CLOCK = auto()
    """Set the system clock, and start a new attempt at its time."""
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
    """What the Shell shows, and the actions that it permits.

    Attributes:
        cause: the failure, in one sentence.
        way_out: what the person can do, in one sentence.
        refusals: one sentence for each candidate that failed, oldest first.
        events: the fields of the newest events, oldest first.
        mode: internet, local or private; None if unknown.
        actions: the permitted actions; any other is refused.
        interfaces: the network interfaces that can be configured.
        note: the result of the previous action, in one sentence.
        retry_in: seconds until the machine tries again by itself unless a key is pressed, shown as
            a countdown; None if it waits for a person.
    """

    cause: str
    way_out: str
    refusals: tuple[str, ...]
    events: tuple[Mapping[str, object], ...] = ()
    mode: str | None = None
    actions: tuple[MenuAction, ...] = ()
    interfaces: tuple[str, ...] = ()
    note: str | None = None
    retry_in: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateOption:
    """A candidate that was found, untrusted like every candidate."""

    url: str
    finder: str
    refused: str | None
    """The reason for which it was refused before in this boot; None if it was not."""


class Operator(Protocol):
    """Asks a person for the next action."""

    async def ask(self, report: Report) -> Answer:
        """Show ``report`` and wait for an answer, without a time limit."""

    async def touched(self) -> None:
        """Return when a key was pressed since the last call of `ask`."""

    async def choose(self, options: Sequence[CandidateOption]) -> str | None:
        """Show ``options`` and return the URL of the chosen one, or None for none."""

    async def perform(self, action: MenuAction) -> None:
        """Perform `REBOOT` or `POWER_OFF`, or run `ROOT_SHELL` to its end; ignore other actions."""
