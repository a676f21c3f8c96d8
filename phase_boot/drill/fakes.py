"""Fakes of the ports that need few lines; the others have a module of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from phase_boot.content.arch import Arch
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.memory_state_files import MemoryStateFiles
from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.handoff.document import CachePartition
from phase_boot.journal.record import Record
from phase_boot.machine.errors import NotConfigured
from phase_boot.ports.finder import Candidate, DiscoveryQuery, FinderFailed
from phase_boot.ports.operator import Answer, CandidateOption, MenuAction, Report
from phase_boot.ports.platform import Facts
from phase_boot.ports.reports import NotSaved
from phase_boot.ports.storage import OpenStore
from phase_boot.store.content_store import ContentStore
from policies.model import Policy, PolicyError, policy_from

GIB = 1 << 30
CACHE_PARTITION = CachePartition(
    guid="7068a5e0-0000-8000-8000-000000000003", location="/pci0000:00/0000:00:03.0/virtio"
)


def policy_table(**changes: Any) -> dict[str, Any]:
    """Return a valid policy table, with some top-level keys changed."""
    table: dict[str, Any] = {
        "mode": "internet",
        "channel": "stable",
        "cache_enabled": True,
        "min_version": "2025.10.01",
        "allow_tor": False,
        "trust": {"keys": [PUBLISHER.keyid], "threshold": 1},
        "discovery": {
            "order": ["lan", "url"],
            "window_seconds": 5,
            "urls": [],
            "candidates": 4,
            "routers": [],
            "gateways": [],
            "bootstrap": [],
        },
        "network": {"wait_seconds": 20, "reach": "internet"},
        "limits": {"attempts": 3, "cache_mib": 64, "slowest_kib_per_second": 1},
        "shell": {"root": False, "unattended": True},
    }
    return table | changes


@dataclass
class FakePlatform:
    """Implements `ports.platform.Platform`."""

    table: dict[str, Any] = field(default_factory=policy_table)
    memory: int = GIB
    url: str | None = None
    root: bytes | None = None
    """The root in the image; without it the table names keys."""
    arch: Arch = Arch.AMD64
    model: str | None = "ACME Boot-o-matic"
    stages: tuple[tuple[str, float], ...] = (("kernel", 0.0),)

    def trusting(self, root: bytes) -> None:
        """Trust this root instead of keys."""
        self.root = root
        self.table["trust"] = {"root": "root.json"}

    async def facts(self) -> Facts:
        return Facts(
            arch=self.arch,
            mode=self.table["mode"],
            url=self.url,
            built=datetime(2025, 11, 1, tzinfo=UTC),
            stages=self.stages,
            model=self.model,
        )

    async def policy(self, mode: str) -> Policy:
        if mode != self.table["mode"]:
            raise NotConfigured(f"there is no policy for the mode {mode!r}; choose another entry")
        try:
            return policy_from(self.table, read=lambda _: self.root or b"")
        except PolicyError as error:
            raise NotConfigured(f"the policy is not usable: {error}") from error

    def memory_available(self) -> int:
        return self.memory

    def rss_peak(self) -> int:
        return 1


@dataclass
class FakeFinder:
    """Implements `ports.finder.Finder`: finds the listed URLs."""

    urls: list[str]
    kind: str = "lan"
    broken: bool = False

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        if self.broken:
            raise FinderFailed("mDNS cannot be used on this network")
        for url in [*self.urls, *(query.urls if self.kind == "url" else ())]:
            yield Candidate(url=url, finder=self.kind)


@dataclass
class FakeCache:
    """Implements `ports.storage.StoreOpener` with a Cache and a store in memory."""

    cache: MemoryDisk | None = field(default_factory=MemoryDisk)
    memory: MemoryDisk = field(default_factory=MemoryDisk)
    state_files: MemoryStateFiles = field(default_factory=MemoryStateFiles)
    """State files on Cache."""
    memory_state_files: MemoryStateFiles = field(default_factory=MemoryStateFiles)
    released: int = 0
    mounted: bool = False
    """Whether Cache was opened."""

    async def open(self, *, persistent: bool, bound: int) -> OpenStore:
        self.mounted |= persistent
        if persistent and self.cache is not None:
            cas = ContentStore(self.cache, bound=bound)
            return OpenStore(cas, self.state_files, persistent=True, partition=CACHE_PARTITION)
        note = "this stick has no Cache partition" if persistent else None
        cas = ContentStore(self.memory, bound=bound)
        return OpenStore(cas, self.memory_state_files, persistent=False, note=note)

    async def release(self) -> None:
        self.released += 1


@dataclass
class FakeSupervisor:
    """Implements `ports.supervisor.Supervisor`; keeps the reports of `alive`."""

    period: float | None = None
    started: int = 0
    reported: list[str] = field(default_factory=list)

    def ready(self) -> None:
        self.started += 1

    def alive(self, doing: str) -> None:
        self.reported.append(doing)


@dataclass
class FakeOperator:
    """Implements `ports.operator.Operator`: gives the listed answers, then quits."""

    answers: list[Answer] = field(default_factory=list)
    choices: list[str | None] = field(default_factory=list)
    offered: list[tuple[CandidateOption, ...]] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    performed: list[MenuAction] = field(default_factory=list)
    away_until: float = 0.0
    """Loop time in seconds before which no key is pressed."""
    answer_seconds: float = 0.0
    """Seconds from the first key to the answer."""
    stays_away: bool = False
    """Whether no key is pressed after the last answer."""

    async def ask(self, report: Report) -> Answer:
        self.reports.append(report)
        await self.touched()
        await asyncio.sleep(self.answer_seconds)
        return self.answers.pop(0) if self.answers else Answer(MenuAction.QUIT)

    async def touched(self) -> None:
        away = self.away_until - asyncio.get_running_loop().time()
        if self.stays_away and not self.answers:
            await asyncio.Event().wait()
        if away > 0:
            await asyncio.sleep(away)

    async def choose(self, options: Sequence[CandidateOption]) -> str | None:
        self.offered.append(tuple(options))
        return self.choices.pop(0) if self.choices else None

    async def perform(self, action: MenuAction) -> None:
        self.performed.append(action)


@dataclass
class FakeReports:
    """Keeps reports in memory."""

    refusal: str | None = None
    saved: dict[str, str] = field(default_factory=dict)

    async def save(self, name: str, text: str) -> str:
        if self.refusal is not None:
            raise NotSaved(self.refusal)
        self.saved[name] = text
        return f"/phase/reports/{name}.txt"


class MemorySink:
    """Implements `journal.Sink` in memory."""

    name = "memory"

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.flushes: list[int] = []

    def write(self, record: Record) -> None:
        self.lines.append(record.line)

    def flush(self) -> None:
        self.flushes.append(len(self.lines))
