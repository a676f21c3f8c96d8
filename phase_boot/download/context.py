"""What artifacts are fetched with, and from where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import random
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.download.health import SourceHealth
from phase_boot.download.source_discovery import SourceDiscovery
from phase_boot.machine.backoff import Backoff
from phase_boot.machine.events import Event, FetchDone
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import Fetcher, FetchFailed
from phase_boot.ports.finder import server_of
from phase_boot.store.content_store import ContentStore
from policies.model import Policy, Reach

if TYPE_CHECKING:
    from phase_boot.download.tracker_client import TrackerClient

PROGRESS_SECONDS: Final = 0.25
BACKOFF: Final = Backoff(first=0.5, longest=60)
"""Between attempts at one source."""
RATE_SECONDS: Final = 30
"""Over so long a source must keep to the lowest rate of the policy."""
KIB: Final = 1024


class ArtifactUnavailable(Exception):
    """Nobody who was asked could deliver the artifact; the text says who failed how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What artifacts are fetched with, and from where.

    Attributes:
        sources: base URLs of mirrors and providers, the preferred first.
        liars: servers that sent other bytes than were signed: a set that grows while we work.
        dags: what the manifest says of each artifact's chunks.
        company: who comes to the sources while we fetch.
        circle: who fetches the same as we do; None hands nothing on and asks nobody.
        gateways: base URLs of trustless gateways, which have blocks and no files.
        chance: returns a random number from 0 up to 1, for jitter.
        health: which sources do not answer, learned from all artifacts.
    """

    clock: Clock
    fetcher: Fetcher
    cas: ContentStore
    sources: tuple[str, ...]
    policy: Policy
    liars: set[str]
    emit: Callable[[Event], None]
    dags: Mapping[str, Cid] = field(default_factory=lambda: MappingProxyType({}))
    company: SourceDiscovery = field(default_factory=SourceDiscovery)
    circle: TrackerClient | None = None
    gateways: tuple[str, ...] = ()
    chance: Callable[[], float] = field(default=random)
    health: SourceHealth = field(default_factory=SourceHealth)

    @property
    def reach(self) -> Reach:
        """How far away may be whoever is asked."""
        return self.policy.network.reach

    @property
    def redirects(self) -> int:
        """How many redirects one request follows."""
        return self.policy.network.redirects

    @property
    def slowest(self) -> int:
        """Bytes per second below which a source is left."""
        return self.policy.limits.slowest_kib_per_second * KIB

    def lies(self, source: str) -> bool:
        """Say whether a source sent other bytes than were signed before."""
        return server_of(source) in self.liars

    def ban(self, source: str) -> None:
        """Do not ask it again in this boot."""
        self.liars.add(server_of(source))

    async def back_off(self, failures: int, retry_after: float | None = None) -> None:
        """Wait before a source that failed so often in a row is asked again."""
        await self.clock.sleep(BACKOFF.pause(failures, self.chance(), retry_after=retry_after))

    def note_failure(self, source: str) -> None:
        """Remember that a source failed or stays silent."""
        self.health.failed(source, self.clock.monotonic())

    def is_suspect(self, source: str) -> bool:
        """Say whether a source failed or stayed silent lately."""
        return self.health.is_suspect(source, self.clock.monotonic())

    async def open(self) -> None:
        """Begin, with nothing that an earlier errand still hands on."""
        if self.circle is not None:
            await self.circle.open()

    async def close(self) -> None:
        """Discover for nobody any more, and tell nobody what is here."""
        await self.company.close()
        if self.circle is not None:
            await self.circle.close()

    def done(self, artifact: Artifact, source: str, seconds: float) -> None:
        """Tell that an artifact is here."""
        self.emit(
            FetchDone(
                artifact=artifact.name,
                sha256=artifact.digest.hex,
                size=artifact.size,
                source=source,
                seconds=seconds,
            )
        )


class MinRateCheck:
    """Whether a source keeps to the lowest rate, looked at every `RATE_SECONDS`."""

    def __init__(self, least: int, *, since: float, done: int) -> None:
        """Take the bytes per second that are asked for, and where the count begins."""
        self._least = least
        self._since = since
        self._done = done

    def check(self, now: float, done: int) -> None:
        """Raise FetchFailed if the source was too slow since the last look."""
        elapsed = now - self._since
        if elapsed < RATE_SECONDS:
            return
        if done - self._done < self._least * elapsed:
            slow = f"it sends less than {self._least // KIB} KiB a second"
            raise FetchFailed(slow, retryable=False)
        self._since, self._done = now, done
