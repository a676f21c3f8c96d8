"""When an unattended machine tries again by itself, and what it remembers until then.

Pure: the time (`Clock.monotonic`) and randomness are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Final

from phase_boot.machine.backoff import Backoff

MIN_PAUSE_SECONDS: Final = 1.0
"""No automatic retry follows sooner after the Shell was opened, whatever turns up."""
FIRST_PAUSE: Final = 20.0
"""Seconds before jitter: a person reads the sentence and presses a key within half of it, also on a
machine that takes some seconds to load the line editor."""
MAX_EARLY: Final = 3
"""Retries in a row that news from the network may start before their pause ends."""
MAX_BANS: Final = 256
BAN: Final = Backoff(first=900, longest=86_400)
"""How long a server that sent other bytes than were signed is not asked by automatic retries."""


class Retry(StrEnum):
    """How a failure may pass, and so how often it is worth trying again."""

    SOON = auto()
    """It may pass at any moment: a server, a link, a cable."""
    LATE = auto()
    """It passes when something else is changed: a policy, a published image, a fault of ours."""
    RARE = auto()
    """Each attempt writes much to the stick before it fails."""


SCHEDULE: Final[Mapping[Retry, Backoff]] = MappingProxyType(
    {
        Retry.SOON: Backoff(first=FIRST_PAUSE, longest=300),
        Retry.LATE: Backoff(first=300, longest=300),
        Retry.RARE: Backoff(first=300, longest=86_400),
    }
)


@dataclass(frozen=True, slots=True)
class Ban:
    """A server that is not asked before `until`, after so many offences."""

    server: str
    offences: int
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """The automatic retries since a person last chose something.

    Attributes:
        counts: how many followed a failure of each kind.
        early: how many in a row did not wait for the end of their pause.
        bans: servers that sent other bytes than were signed.
        since: when the present attempt began.
    """

    counts: Mapping[Retry, int] = field(default_factory=lambda: MappingProxyType({}))
    early: int = 0
    bans: tuple[Ban, ...] = ()
    since: float = 0.0

    @property
    def total(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    def pause(self, kind: Retry, chance: float) -> float:
        """Return the seconds until the next one; ``chance`` is random, from 0 up to 1."""
        return SCHEDULE[kind].pause(self.counts.get(kind, 0) + 1, chance)

    @property
    def may_be_early(self) -> bool:
        """Whether news may start the next one before its pause ends."""
        return self.early < MAX_EARLY

    def after(self, kind: Retry, origins: Iterable[str], *, early: bool, now: float) -> Retries:
        """Return what is remembered when the next one starts."""
        counts = {**self.counts, kind: self.counts.get(kind, 0) + 1}
        return replace(
            self,
            counts=MappingProxyType(counts),
            early=self.early + 1 if early else 0,
            bans=_banned(self.bans, origins, self.since, now),
            since=now,
        )

    def banned(self, now: float) -> frozenset[str]:
        """Return the servers that are not asked at this time."""
        return frozenset(ban.server for ban in self.bans if ban.until > now)


def _banned(
    bans: Iterable[Ban], origins: Iterable[str], since: float, now: float
) -> tuple[Ban, ...]:
    """Ban each origin whose last ban had ended by ``since``, longer with each repetition."""
    known = {ban.server: ban for ban in bans}
    for server in sorted(origins):
        before = known.get(server, Ban(server, 0, since))
        if before.until <= since:
            known.pop(server, None)
            offences = before.offences + 1
            known[server] = Ban(server, offences, now + BAN.pause(offences, 0.0))
    return tuple(known.values())[-MAX_BANS:]
