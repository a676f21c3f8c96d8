"""One boot with fakes for all ports, from start to end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from phase_boot.adapters.finders.dht import DhtFinder
from phase_boot.adapters.finders.ipns_http import RecordFinder
from phase_boot.adapters.finders.known_urls import CachedManifestFinder
from phase_boot.adapters.finders.lan_providers import LanProviders
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_blocks import FakeBlocks
from phase_boot.drill.fake_boot import FakeKexec, FakeLoader
from phase_boot.drill.fake_dht import FakeDht
from phase_boot.drill.fake_network import FakeNetwork
from phase_boot.drill.fake_peers import FakePeerSharing
from phase_boot.drill.fake_privacy import FakePrivacy
from phase_boot.drill.fake_servers import FakeFetcher
from phase_boot.drill.fakes import (
    FakeCache,
    FakeFinder,
    FakeOperator,
    FakePlatform,
    FakeReports,
    FakeSupervisor,
    MemorySink,
)
from phase_boot.journal.journal import Journal
from phase_boot.journal.replay import Walk, replay
from phase_boot.machine.boot import BootContext
from phase_boot.machine.driver import drive
from phase_boot.machine.graph import State
from phase_boot.machine.handler import Handler, Ports
from phase_boot.machine.registry import installed_handlers, total
from phase_boot.ports.dht import Dht
from phase_boot.ports.finder import Finder
from phase_boot.ports.peer_sharing import PeerSharing

_FOUND = installed_handlers()
OWN_HANDLERS = tuple(_FOUND[state] for state in State if state in _FOUND)
"""The handlers of this installation, plugins included, in the order of the graph."""


@dataclass
class Scenario:
    """One boot: change its fields, `run` it, and read the fakes afterwards."""

    fetcher: FakeFetcher
    lan_urls: list[str] = field(default_factory=list)
    """The manifest URLs that the LAN finder finds, in order."""
    platform: FakePlatform = field(default_factory=FakePlatform)
    privacy: FakePrivacy = field(default_factory=FakePrivacy)
    network: FakeNetwork = field(default_factory=FakeNetwork)
    dht: FakeDht = field(default_factory=FakeDht)
    asked_dht: Dht | None = None
    """What the finder of the DHT asks; without one it is ``dht``."""
    blocks: FakeBlocks = field(default_factory=FakeBlocks)
    cache: FakeCache = field(default_factory=FakeCache)
    kexec: FakeKexec = field(default_factory=FakeKexec)
    loader: FakeLoader = field(default_factory=FakeLoader)
    operator: FakeOperator = field(default_factory=FakeOperator)
    reports: FakeReports = field(default_factory=FakeReports)
    supervisor: FakeSupervisor = field(default_factory=FakeSupervisor)
    journal: MemorySink = field(default_factory=MemorySink)
    handlers: tuple[Handler, ...] = OWN_HANDLERS
    finder_broken: bool = False
    lan: Finder | None = None
    """The LAN finder; without one a fake finds all of ``lan_urls``."""
    peer_sharing: PeerSharing | None = None
    """Peer sharing; without one a fake is used."""
    start: BootContext = field(default_factory=BootContext)
    boot: BootContext | None = None
    clock: virtual_time.VirtualClock = field(default_factory=virtual_time.VirtualClock)

    def run(self) -> State:
        end, self.boot = virtual_time.run(self.drive())
        return end

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.lines]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @property
    def walk(self) -> Walk:
        return replay(self.journal.lines)

    @property
    def cause(self) -> str:
        """The cause that the console showed last."""
        return self.operator.reports[-1].cause

    async def drive(self) -> tuple[State, BootContext]:
        journal = Journal([self.journal], now=self.clock.monotonic, boot_id="test")
        return await drive(total(self.handlers), self.ports(journal), self.start)

    def ports(self, journal: Journal) -> Ports:
        """Return every port."""
        providers = LanProviders(self.lan or FakeFinder(self.lan_urls, broken=self.finder_broken))
        return Ports(
            clock=self.clock,
            platform=self.platform,
            privacy=self.privacy,
            network=self.network,
            finders=(
                providers,
                RecordFinder(self.fetcher, providers, chance=Random("head start").random),
                DhtFinder(self.asked_dht or self.dht),
                FakeFinder([], kind="url"),
                CachedManifestFinder(),
            ),
            fetcher=self.fetcher,
            dht=self.dht,
            blocks=self.blocks,
            peer_sharing=self.peer_sharing or FakePeerSharing(self.fetcher),
            store_opener=self.cache,
            kexec=self.kexec,
            loader=self.loader,
            operator=self.operator,
            reports=self.reports,
            journal=journal,
            supervisor=self.supervisor,
            emit=journal.emit,
            chance=Random("jitter").random,
        )


def replaced(handler: Handler, among: Iterable[Handler] = OWN_HANDLERS) -> tuple[Handler, ...]:
    """Return the handlers with one of them replaced, as a plugin replaces it."""
    return tuple(handler if own.state is handler.state else own for own in among)


def lan_scenario(*urls: str, **servers: Any) -> Scenario:
    """Return a boot in which the LAN finder finds every server's manifest, in the order given."""
    fetcher = FakeFetcher(**servers)
    return Scenario(
        fetcher, lan_urls=list(urls) or [fetcher.manifest_url(name) for name in servers]
    )
