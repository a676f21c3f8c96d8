"""The dependencies of a download: ports, store and policy, and what was learned of sources.

Every part of this package takes a `DownloadContext`. It does not say where to download from:
`sources.Sources` does, which only `artifact.fetch_artifact` reads. So a source, the scheduler and
the tracker client depend on the context alone, and no file of the package imports one above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import random
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.download.gateway_formats import GatewayFormats
from phase_boot.download.health import SourceHealth
from phase_boot.download.rate import KIB
from phase_boot.journal.content_events import FetchDone
from phase_boot.journal.event import Event
from phase_boot.machine.backoff import Backoff
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import Fetcher
from phase_boot.ports.finder import server_of
from phase_boot.store.content_store import ContentStore
from policies.model import Policy, Reach

BACKOFF: Final = Backoff(first=0.5, longest=60)
"""Pause between two attempts at one source."""


class ArtifactUnavailable(Exception):
    """No source delivered the artifact; the text names each source and its failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadContext:
    """What a download works with.

    Attributes:
        store: where artifacts are kept.
        banned: origins of servers that sent other bytes than were signed; the set grows.
        emit: takes the events of the journal.
        chance: returns a random number from 0 up to 1, for jitter.
        health: which sources do not answer, learned from all artifacts.
        formats: in which format each gateway sends files, learned from all artifacts.
    """

    clock: Clock
    fetcher: Fetcher
    store: ContentStore
    policy: Policy
    banned: set[str]
    emit: Callable[[Event], None]
    chance: Callable[[], float] = field(default=random)
    health: SourceHealth = field(default_factory=SourceHealth)
    formats: GatewayFormats = field(default_factory=GatewayFormats)

    @property
    def reach(self) -> Reach:
        """How far away a source may be."""
        return self.policy.network.reach

    @property
    def max_redirects(self) -> int:
        """Number of redirects that one request follows."""
        return self.policy.network.redirects

    @property
    def min_rate(self) -> int:
        """Bytes per second below which a source is left."""
        return self.policy.limits.slowest_kib_per_second * KIB

    def is_banned(self, source: str) -> bool:
        """Return whether the source's server has sent other bytes than were signed."""
        return server_of(source) in self.banned

    def ban(self, source: str) -> None:
        """Ban the source's server for the rest of this boot."""
        self.banned.add(server_of(source))

    async def back_off(self, failures: int, retry_after: float | None = None) -> None:
        """Wait before the next attempt at a source that failed ``failures`` times in a row."""
        await self.clock.sleep(BACKOFF.pause(failures, self.chance(), retry_after=retry_after))

    def note_failure(self, source: str) -> None:
        """Record that a source failed or stays silent."""
        self.health.failed(source, self.clock.monotonic())

    def is_suspect(self, source: str) -> bool:
        """Return whether a source failed or stayed silent lately."""
        return self.health.is_suspect(source, self.clock.monotonic())

    def emit_done(self, artifact: Artifact, source: str, seconds: float) -> None:
        """Report that an artifact is in the store."""
        self.emit(
            FetchDone(
                artifact=artifact.name,
                sha256=artifact.digest.hex,
                size=artifact.size,
                source=source,
                seconds=seconds,
            )
        )
