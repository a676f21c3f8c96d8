"""Boots that discover further sources and exchange pieces with peers during the download."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field, replace

import pytest

from phase_boot.content.digest import Digest
from phase_boot.download.source_discovery import MAX_DISCOVERED
from phase_boot.drill.fake_mirrors import Site, dags_of_all, site_with_chunks
from phase_boot.drill.fake_peers import FakeNeighbours, FakeTracker
from phase_boot.drill.fakes import FakeFinder, policy_table
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.drill.scenarios import NEIGHBOUR
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


def slow() -> Site:
    """Return a site that takes some seconds for the root filesystem."""
    site = site_with_chunks()
    site.piece_seconds = 1.0
    site.quick = frozenset({MANIFEST})
    return site


def asked_for_rootfs(play: Scenario) -> set[str]:
    return {base for base, site in play.sites.by_base.items() if site.asked[ENTRY]}


def test_a_provider_discovered_during_the_download_is_used() -> None:
    play = scene(peer=slow(), other=site_with_chunks())
    assert play.play() is State.TARGET
    assert asked_for_rootfs(play) == {"http://peer", "http://other"}
    assert {event["source"] for event in play.of("fetch.done")} == {"http://other"}


def test_a_discovered_provider_without_the_artifact_is_reported_and_stops_nothing() -> None:
    play = scene(peer=slow(), empty=Site({}))
    assert play.play() is State.TARGET
    failed = {(event["source"], event["reason"]) for event in play.of("source.failed")}
    assert failed == {("http://empty", "it does not have it (HTTP 404)")}


def test_a_discovered_provider_with_wrong_bytes_is_banned_and_costs_one_chunk() -> None:
    liar = site_with_chunks()
    liar.twist = lambda path, data: bytes(len(data)) if path == ENTRY else data
    play = scene(peer=slow(), liar=liar)
    assert play.play() is State.TARGET
    assert liar.asked[ENTRY] == 1
    assert "another sha256" in str(play.of("source.failed"))


def test_no_discovery_runs_for_stored_artifacts() -> None:
    first = scene(peer=site_with_chunks())
    first.play()
    again = scene(peer=site_with_chunks(), other=site_with_chunks())
    again.cache.cache = first.cache.cache
    finder = again.lan = Counting(again.found)
    assert again.play() is State.TARGET
    assert finder.searches == 1
    assert not asked_for_rootfs(again)


def test_a_failing_finder_is_reported_and_stops_nothing() -> None:
    play = scene(peer=slow())
    play.lan = Breaking(play.found)
    assert play.play() is State.TARGET
    (told,) = play.of("finder.failed")
    assert "ZeroDivisionError" in told["reason"]


def test_the_number_of_discovered_sources_is_bounded() -> None:
    crowd = {f"n{number}": site_with_chunks() for number in range(MAX_DISCOVERED + 5)}
    play = scene(peer=slow(), **crowd)
    assert play.play() is State.TARGET
    began = {event["source"] for event in play.of("fetch.started")}
    assert len(began) == MAX_DISCOVERED + 1


def test_two_addresses_of_one_provider_count_once() -> None:
    play = scene(peer=slow(), other=site_with_chunks(), again=site_with_chunks())
    play.lan = Named(play.found, names={"http://again": "other", "http://other": "other"})
    assert play.play() is State.TARGET
    assert asked_for_rootfs(play) == {"http://peer", "http://other"}


def test_boots_without_lan_discovery_add_no_source() -> None:
    play = scene(peer=slow(), other=site_with_chunks())
    play.platform.table["discovery"]["order"] = ["url"]
    play.platform.table["discovery"]["urls"] = [play.found[0]]
    assert play.play() is State.TARGET
    assert asked_for_rootfs(play) == {"http://peer"}


def meeting_place() -> Site:
    site = slow()
    site.tracker = FakeTracker(dags_of_all(), peers=(NEIGHBOUR,), assigned=0)
    return site


def test_boots_at_the_same_time_exchange_pieces() -> None:
    play = scene(peer=meeting_place())
    play.sites.by_base[NEIGHBOUR] = site_with_chunks()
    hands = play.peer_sharing = FakeNeighbours(play.sites)
    assert play.play() is State.TARGET
    assert {event["source"] for event in play.of("fetch.done")} == {NEIGHBOUR}
    assert {share.digest for share in hands.shared} == set(
        map(Digest.of, (KERNEL, INITRAMFS, ROOTFS))
    )
    assert all(shared.held for shared in hands.shared.values())
    assert play.sites.reaches == {Reach.INTERNET}


def test_a_private_boot_neither_announces_nor_shares() -> None:
    play = scene(peer=meeting_place())
    play.sites.by_base[NEIGHBOUR] = site_with_chunks()
    play.platform.table = policy_table(mode="private", cache_enabled=False)
    hands = play.peer_sharing = FakeNeighbours(play.sites)
    assert play.play() is State.TARGET
    assert (hands.said, hands.shared) == ([], {})
    assert asked_for_rootfs(play) == {"http://peer"}


def test_a_local_boot_announces_only_within_its_lan() -> None:
    play = scene(peer=meeting_place())
    play.platform.table["mode"] = "local"
    play.platform.table["network"]["reach"] = "lan"
    play.sites.by_base[NEIGHBOUR] = site_with_chunks()
    assert play.play() is State.TARGET
    assert play.sites.reaches == {Reach.LAN}


@pytest.fixture(autouse=True)
def no_loose_ends() -> Iterator[None]:
    """A task that was left behind says so when it is collected; warnings are errors."""
    yield
    gc.collect()
