"""Boots that discover further sources and exchange pieces with peers during the download."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field, replace

import pytest

from phase_boot.content.digest import Digest
from phase_boot.download.sources import MAX_DISCOVERED
from phase_boot.drill.fake_peers import FakePeerSharing, FakeTracker
from phase_boot.drill.fake_servers import FakeServer, dags_of_all, server_with_chunks
from phase_boot.drill.fakes import FakeFinder, policy_table
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.drill.scenarios import PEER
from phase_boot.machine.graph import State
from phase_boot.ports.finder import Candidate, DiscoveryQuery, server_of
from policies.model import Reach

MANIFEST = "stable/amd64/manifest.json"
ENTRY = f"cas/sha256/{Digest.of(ROOTFS).hex}"


@dataclass
class Counting(FakeFinder):
    """Counts its searches."""

    searches: int = 0

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        self.searches += 1
        async for candidate in super().find(query):
            yield candidate


@dataclass
class Breaking(Counting):
    """A plugin with a fault that shows when it is used for the second time."""

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        async for candidate in super().find(query):
            if self.searches > 1:
                raise ZeroDivisionError("a fault of a plugin")
            yield candidate


@dataclass
class Named(FakeFinder):
    """Yields candidates with the names of their announcements."""

    names: dict[str, str] = field(default_factory=dict)

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        async for candidate in super().find(query):
            yield replace(candidate, service_name=self.names.get(server_of(candidate.url), ""))


def slow() -> FakeServer:
    """Return a server that takes some seconds for the root filesystem."""
    server = server_with_chunks()
    server.piece_seconds = 1.0
    server.quick = frozenset({MANIFEST})
    return server


def asked_for_rootfs(scenario: Scenario) -> set[str]:
    return {base for base, server in scenario.fetcher.servers.items() if server.requests[ENTRY]}


def test_a_provider_discovered_during_the_download_is_used() -> None:
    scenario = lan_scenario(peer=slow(), other=server_with_chunks())
    assert scenario.run() is State.TARGET
    assert asked_for_rootfs(scenario) == {"http://peer", "http://other"}
    assert {event["source"] for event in scenario.of("fetch.done")} == {"http://other"}


def test_a_discovered_provider_without_the_artifact_is_reported_and_stops_nothing() -> None:
    scenario = lan_scenario(peer=slow(), empty=FakeServer({}))
    assert scenario.run() is State.TARGET
    failed = {(event["source"], event["reason"]) for event in scenario.of("source.failed")}
    assert failed == {("http://empty", "it does not have it (HTTP 404)")}


def test_a_discovered_provider_with_wrong_bytes_is_banned_and_costs_one_chunk() -> None:
    liar = server_with_chunks()
    liar.tamper = lambda path, data: bytes(len(data)) if path == ENTRY else data
    scenario = lan_scenario(peer=slow(), liar=liar)
    assert scenario.run() is State.TARGET
    assert liar.requests[ENTRY] == 1
    assert "another sha256" in str(scenario.of("source.failed"))


def test_no_discovery_runs_for_stored_artifacts() -> None:
    first = lan_scenario(peer=server_with_chunks())
    first.run()
    again = lan_scenario(peer=server_with_chunks(), other=server_with_chunks())
    again.cache.cache = first.cache.cache
    finder = again.lan = Counting(again.lan_urls)
    assert again.run() is State.TARGET
    assert finder.searches == 1
    assert not asked_for_rootfs(again)


def test_a_failing_finder_is_reported_and_stops_nothing() -> None:
    scenario = lan_scenario(peer=slow())
    scenario.lan = Breaking(scenario.lan_urls)
    assert scenario.run() is State.TARGET
    (event,) = scenario.of("finder.failed")
    assert "ZeroDivisionError" in event["reason"]


def test_the_number_of_discovered_sources_is_bounded() -> None:
    crowd = {f"n{number}": server_with_chunks() for number in range(MAX_DISCOVERED + 5)}
    scenario = lan_scenario(peer=slow(), **crowd)
    assert scenario.run() is State.TARGET
    began = {event["source"] for event in scenario.of("fetch.started")}
    assert len(began) == MAX_DISCOVERED + 1


def test_two_addresses_of_one_provider_count_once() -> None:
    scenario = lan_scenario(peer=slow(), other=server_with_chunks(), again=server_with_chunks())
    scenario.lan = Named(
        scenario.lan_urls, names={"http://again": "other", "http://other": "other"}
    )
    assert scenario.run() is State.TARGET
    assert asked_for_rootfs(scenario) == {"http://peer", "http://other"}


def test_boots_without_lan_discovery_add_no_source() -> None:
    scenario = lan_scenario(peer=slow(), other=server_with_chunks())
    scenario.platform.table["discovery"]["order"] = ["url"]
    scenario.platform.table["discovery"]["urls"] = [scenario.lan_urls[0]]
    assert scenario.run() is State.TARGET
    assert asked_for_rootfs(scenario) == {"http://peer"}


def server_with_tracker() -> FakeServer:
    server = slow()
    server.tracker = FakeTracker(dags_of_all(), peers=(PEER,), assigned=0)
    return server


def test_boots_at_the_same_time_exchange_pieces() -> None:
    scenario = lan_scenario(peer=server_with_tracker())
    scenario.fetcher.servers[PEER] = server_with_chunks()
    peer_sharing = scenario.peer_sharing = FakePeerSharing(scenario.fetcher)
    assert scenario.run() is State.TARGET
    assert {event["source"] for event in scenario.of("fetch.done")} == {PEER}
    assert {share.digest for share in peer_sharing.shared} == set(
        map(Digest.of, (KERNEL, INITRAMFS, ROOTFS))
    )
    assert all(shared.bitfield for shared in peer_sharing.shared.values())
    assert scenario.fetcher.reaches == {Reach.INTERNET}


def test_a_private_boot_neither_announces_nor_shares() -> None:
    scenario = lan_scenario(peer=server_with_tracker())
    scenario.fetcher.servers[PEER] = server_with_chunks()
    scenario.platform.table = policy_table(mode="private", cache_enabled=False)
    peer_sharing = scenario.peer_sharing = FakePeerSharing(scenario.fetcher)
    assert scenario.run() is State.TARGET
    assert (peer_sharing.announcements, peer_sharing.shared) == ([], {})
    assert asked_for_rootfs(scenario) == {"http://peer"}


def test_a_local_boot_announces_only_within_its_lan() -> None:
    scenario = lan_scenario(peer=server_with_tracker())
    scenario.platform.table["mode"] = "local"
    scenario.platform.table["network"]["reach"] = "lan"
    scenario.fetcher.servers[PEER] = server_with_chunks()
    assert scenario.run() is State.TARGET
    assert scenario.fetcher.reaches == {Reach.LAN}


@pytest.fixture(autouse=True)
def no_leftover_tasks() -> Iterator[None]:
    """A pending task warns when it is collected; warnings are errors."""
    yield
    gc.collect()
