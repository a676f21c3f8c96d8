"""Links and addresses that come, go and change while a boot looks for a manifest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from phase_boot.content.arch import Arch
from phase_boot.discovery.search import MAX_RESTARTS, NetworkWatch, search
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_network import FakeNetwork
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer, good_server
from phase_boot.drill.fakes import FakeFinder, policy_table
from phase_boot.drill.scenario import Scenario
from phase_boot.journal.event import Event
from phase_boot.machine.graph import State
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import Candidate, DiscoveryQuery
from phase_boot.ports.network import Link

WINDOW = 25
URL = "http://peer/stable/amd64/manifest.json"
FOUR = Link("eth0", ("192.0.2.9/24",), gateways=("192.0.2.1",))
SIX = Link("eth0", ("2001:db8::9/64",), gateways=("fe80::1",))
BOTH = Link("eth0", (*FOUR.addresses, *SIX.addresses), gateways=(*FOUR.gateways, *SIX.gateways))
MOVED = Link("eth0", ("198.51.100.9/24",), gateways=("198.51.100.1",))
NEXT = Link("eth1", ("203.0.113.9/24",), gateways=("203.0.113.1",))
Later = tuple[tuple[float, tuple[Link, ...]], ...]

CASES: dict[str, tuple[Later, Link, str, float]] = {
    "IPv4 only": (((0, (FOUR,)),), FOUR, "192.0.2.", 0),
    "IPv6 only by RA": (((1, (SIX,)),), SIX, "2001:", 1),
    "IPv6 at once, IPv4 after 2 s": (((0, (SIX,)), (2, (BOTH,))), BOTH, "192.0.2.", 2),
    "IPv4 at once, IPv6 after 2 s": (((0, (FOUR,)), (2, (BOTH,))), BOTH, "2001:", 2),
    "NIC 1 link-local only, NIC 2 lease after 8 s": (((8, (NEXT,)),), NEXT, "203.", 8),
    "NIC 1 with a lease and no provider, NIC 2 after 20 s": (
        ((0, (FOUR,)), (20, (FOUR, NEXT))),
        NEXT,
        "203.",
        20,
    ),
    "lease, then another lease": (((0, (FOUR,)), (9, (MOVED,))), MOVED, "198.", 9),
    "cable out and in during Discover": (
        ((0, (FOUR,)), (3, ()), (21, (FOUR,)), (24, ()), (40, (MOVED,))),
        MOVED,
        "198.",
        40,
    ),
}
"""The links by time, the one that is handed over, where the provider is, and since when it is."""


class Announced:
    """Finds the provider once a link has an address of its network, as mDNS does."""

    kind = "lan"

    def __init__(self, network: FakeNetwork, prefix: str, url: str) -> None:
        self._network, self._prefix, self._url = network, prefix, url

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        give_up = asyncio.get_running_loop().time() + query.seconds
        async with aclosing(self._network.changes()) as snapshots:
            while True:
                try:
                    async with asyncio.timeout_at(give_up):
                        links = await anext(snapshots)
                except TimeoutError:
                    return
                if _has(links, self._prefix):
                    yield Candidate(url=self._url, finder=self.kind)


class Reachable(FakeFetcher):
    """Answers only while a link has an address of its network."""

    def __init__(self, network: FakeNetwork, prefix: str, **servers: FakeServer) -> None:
        super().__init__(**servers)
        self._network, self._prefix = network, prefix

    async def read(self, url: str, **words: Any) -> bytes:
        async with aclosing(self._network.changes()) as snapshots:
            if not _has(await anext(snapshots), self._prefix):
                raise FetchFailed("Network is unreachable", retryable=True)
        return await super().read(url, **words)


def _has(links: tuple[Link, ...], prefix: str) -> bool:
    return any(address.startswith(prefix) for link in links for address in link.addresses)


def run_with(later: Later, prefix: str, order: list[str], *, window: int = WINDOW) -> Scenario:
    network = FakeNetwork(links=(), later=later)
    host = {"192.0.2.": "192.0.2.77", "2001:": "[2001:db8::77]"}.get(prefix, f"{prefix}0.113.77")
    host = {"198.": "198.51.100.77"}.get(prefix, host)
    servers = Reachable(network, prefix, peer=good_server())
    base = f"http://{host}"
    servers.servers = {base: servers.servers["http://peer"]}
    url = f"{base}/stable/amd64/manifest.json"
    scenario = Scenario(servers, network=network, lan=Announced(network, prefix, url))
    discovery = {**policy_table()["discovery"], "order": order, "window_seconds": window}
    scenario.platform.table = policy_table(discovery={**discovery, "urls": [url]})
    scenario.run()
    return scenario


def found_at(scenario: Scenario) -> float:
    assert scenario.events[-1]["event"] == "transition"
    assert scenario.walk.end is State.TARGET, scenario.journal.lines
    return float(scenario.of("manifest.verified")[0]["at"])


@pytest.mark.parametrize("order", [["lan"], ["url"]], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_a_provider_is_found_once_its_network_is_there(name: str, order: list[str]) -> None:
    later, link, prefix, since = CASES[name]
    scenario = run_with(later, prefix, order)
    assert since <= found_at(scenario) <= since + WINDOW
    assert scenario.boot is not None
    assert scenario.boot.link == link


def test_each_new_network_is_reported_once() -> None:
    scenario = run_with(CASES["IPv4 at once, IPv6 after 2 s"][0], "2001:", ["lan"])
    assert [event["addresses"] for event in scenario.of("link.up")] == [
        list(FOUR.addresses),
        list(BOTH.addresses),
    ]


def test_an_answered_url_is_not_requested_again_when_the_network_grows() -> None:
    scenario = Scenario(
        FakeFetcher(peer=FakeServer({})), network=FakeNetwork(links=(FOUR,), later=((2, (BOTH,)),))
    )
    scenario.platform.table["discovery"] |= {"order": ["url"], "urls": [URL]}
    scenario.run()
    assert scenario.fetcher.servers["http://peer"].requests["stable/amd64/manifest.json"] == 1


def test_a_flapping_link_does_not_keep_a_boot_busy() -> None:
    flapping = tuple((float(at), (FOUR,) if at % 2 else ()) for at in range(2000))
    scenario = run_with(flapping, "2001:", ["lan"], window=5)
    opened = scenario.of("shell.opened")[0]
    assert opened["at"] <= 5 * (2 + MAX_RESTARTS)
    scenario = run_with(flapping, "2001:", ["url"], window=5)
    assert scenario.of("shell.opened")[0]["at"] <= 5 * (2 + MAX_RESTARTS)


class HangingFinder:
    kind = "lan"

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:  # noqa: ARG002 - it hangs
        await asyncio.sleep(1e9)
        yield Candidate(url=URL, finder=self.kind)


class RaisingFinder:
    kind = "lan"

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:  # noqa: ARG002 - it raises
        raise RuntimeError("a plugin's fault")
        yield Candidate(url=URL, finder=self.kind)


class FloodingFinder:
    kind = "lan"

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:  # noqa: ARG002 - it floods
        for number in range(10_000):
            yield Candidate(url=f"http://{number}/", finder=self.kind)
        await asyncio.sleep(1e9)


@pytest.mark.parametrize("bad", [HangingFinder, RaisingFinder, FloodingFinder])
def test_a_finder_that_is_broken_costs_the_others_nothing(bad: Callable[[], Any]) -> None:
    events: list[Event] = []
    query = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=5, urls=())

    async def found() -> tuple[set[str], float]:
        async with aclosing(search([bad(), FakeFinder([URL])], query, emit=events.append)) as all_:
            urls = {candidate.url async for candidate in all_}
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == []
        return urls, asyncio.get_running_loop().time()

    urls, seconds = virtual_time.run(found())
    assert URL in urls
    assert seconds <= 6
    assert len(events) == (bad is RaisingFinder)


def test_a_watch_without_any_snapshot_delays_a_search_by_seconds() -> None:
    class Silent(FakeNetwork):
        async def changes(self) -> AsyncGenerator[tuple[Link, ...], None]:
            await asyncio.sleep(1e9)
            yield ()

    async def watched() -> float:
        async with NetworkWatch(Silent()) as watch:
            assert watch.links is None
        return asyncio.get_running_loop().time()

    assert virtual_time.run(watched()) <= 10
