"""Automatic retries of an unattended machine: their pauses, and the bans that outlive them.

All functions are pure: the time (`Clock.monotonic`) and randomness are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Final

from phase_boot.machine.backoff import Backoff

MIN_PAUSE_SECONDS: Final = 1.0
"""Shortest time between the opening of the Shell and an automatic retry."""
FIRST_PAUSE: Final = 20.0
"""First pause in seconds, before jitter. Half of it is enough for a person to read the sentence and
press a key, also on a machine that takes some seconds to load the line editor."""
MAX_EARLY: Final = 3
"""Retries in a row that a change of the network may start before their pause ends."""
MAX_BANS: Final = 256
BAN: Final = Backoff(first=900, longest=86_400)
"""How long automatic retries ban a server that sent other bytes than were signed."""


class Retry(StrEnum):
    """The kind of a failure, which decides how often a retry is worthwhile."""

    SOON = auto()
    """It may end at any moment: a server, a link, a cable."""
    LATE = auto()
    """It ends when a person changes something: a policy, a published image, this program."""
    RARE = auto()
    """Each attempt writes much to the stick before it fails, so that retries must be rare."""


SCHEDULE: Final[Mapping[Retry, Backoff]] = MappingProxyType(
    {
        Retry.SOON: Backoff(first=FIRST_PAUSE, longest=300),
        Retry.LATE: Backoff(first=300, longest=300),
        Retry.RARE: Backoff(first=300, longest=86_400),
    }
)


@dataclass(frozen=True, slots=True)
class Ban:
    """A server that gets no request before `until`, and the number of its offences."""

    server: str
    offences: int
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """The automatic retries since a person last chose an action.

    Attributes:
        counts: the number of retries after each kind of failure.
        early: the number of retries in a row that started before the end of their pause.
        bans: servers that sent other bytes than were signed.
        since: when the current attempt started.
    """

    counts: Mapping[Retry, int] = field(default_factory=lambda: MappingProxyType({}))
    early: int = 0
    bans: tuple[Ban, ...] = ()
    since: float = 0.0

    @property
    def total(self) -> int:
        """The number of retries."""
        return sum(self.counts.values())

    def pause(self, kind: Retry, chance: float) -> float:
        """Return the seconds until the next retry; ``chance`` is random, from 0 up to 1."""
        return SCHEDULE[kind].pause(self.counts.get(kind, 0) + 1, chance)

    @property
    def may_be_early(self) -> bool:
        """Whether a change of the network may start the next retry before its pause ends."""
        return self.early < MAX_EARLY

    def after(self, kind: Retry, origins: Iterable[str], *, early: bool, now: float) -> Retries:
        """Return the record at the start of the next retry, with bans of ``origins``."""
        counts = {**self.counts, kind: self.counts.get(kind, 0) + 1}
        return replace(
            self,
            counts=MappingProxyType(counts),
            early=self.early + 1 if early else 0,
            bans=_banned(self.bans, origins, self.since, now),
            since=now,
        )

    def banned(self, now: float) -> frozenset[str]:
        """Return the servers that are banned at this time."""
        return frozenset(ban.server for ban in self.bans if ban.until > now)


def _banned(
    bans: Iterable[Ban], origins: Iterable[str], since: float, now: float
) -> tuple[Ban, ...]:
    """Ban each origin whose previous ban had ended by ``since``, longer with each repetition."""
    known = {ban.server: ban for ban in bans}
    for server in sorted(origins):
        before = known.get(server, Ban(server, 0, since))
        if before.until <= since:
            known.pop(server, None)
            offences = before.offences + 1
            known[server] = Ban(server, offences, now + BAN.pause(offences, 0.0))
    return tuple(known.values())[-MAX_BANS:]
