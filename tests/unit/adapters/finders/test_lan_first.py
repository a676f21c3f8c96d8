"""Providers of this network are asked for the record before the servers beyond it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from phase_boot.adapters.finders.ipns_http import HeadStart, RecordFinder
from phase_boot.adapters.finders.lan_providers import MAX_PROVIDERS, LanProviders
from phase_boot.content.arch import Arch
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.drill.fakes import FakeFinder
from phase_boot.drill.sample_manifest import NOW, UNTRUSTED_KEY
from phase_boot.drill.sample_record import ANNOUNCER, MIRROR_URL, record
from phase_boot.ports.finder import Candidate, DiscoveryQuery, Ignored, RecordQuery
from phase_boot.trust.ipns_name import IpnsName
from policies.model import Reach

NAME = IpnsName(ANNOUNCER.keyid)
ROUTED = f"routing/v1/ipns/{NAME}"
MANIFEST = "stable/amd64/manifest.json"
TIMES = HeadStart()
ASKED = RecordQuery(
    names=(NAME,),
    routers=("http://router",),
    gateways=(),
    now=NOW,
    reach=Reach.INTERNET,
    redirects=5,
    ask_lan=True,
)
QUERY = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=15, urls=(), records=ASKED)


class Search:
    """A search with one router and the given providers of this network."""

    def __init__(self, providers: dict[str, FakeServer] | None = None, chance: float = 0.0) -> None:
        providers = providers or {}
        self.fetcher = FakeFetcher(router=FakeServer({ROUTED: record(sequence=8)}), **providers)
        self.lan = LanProviders(FakeFinder([f"http://{name}/{MANIFEST}" for name in providers]))
        self.finder = RecordFinder(self.fetcher, self.lan, chance=lambda: chance)
        self.found: list[Candidate | Ignored] = []

    def run(self, query: DiscoveryQuery = QUERY) -> float:
        """Search to the end, and return the time at which the router was asked."""

        async def search() -> None:
            _ = [each async for each in self.lan.find(query)]
            async with aclosing(self.finder.find(query)) as found:
                self.found = [each async for each in found]

        virtual_time.run(search())
        (asked,) = self.fetcher.servers["http://router"].request_times
        return asked

    def sequences(self) -> list[int]:
        records = [each.record for each in self.found if isinstance(each, Candidate)]
        return [record.sequence for record in records if record is not None]


def test_a_record_of_a_provider_leads_to_its_places_before_a_router_is_asked() -> None:
    search = Search({"near": FakeServer({ROUTED: record(sequence=7)})})
    assert search.run() >= TIMES.least + TIMES.record
    assert search.sequences() == [7, 8]
    assert next(each.url for each in search.found if isinstance(each, Candidate)) == MIRROR_URL


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_without_a_provider_the_router_is_asked_at_a_drawn_time(chance: float) -> None:
    drawn = TIMES.least + (TIMES.most - TIMES.least) * chance
    assert Search(chance=chance).run() == pytest.approx(drawn, abs=0.05)


@pytest.mark.parametrize(
    "server",
    [
        FakeServer({}),
        FakeServer({ROUTED: record(key=UNTRUSTED_KEY)}),
        FakeServer({ROUTED: b"<html>"}),
        FakeServer({ROUTED: record()}, hangs=True),
    ],
    ids=["no record", "forged", "page", "hangs"],
)
def test_a_provider_without_a_good_record_delays_the_router_by_a_second_at_most(
    server: FakeServer,
) -> None:
    search = Search({"near": server})
    assert search.run() <= TIMES.least + TIMES.answer + 0.05
    assert search.sequences() == [8]


def test_an_older_record_of_a_provider_is_a_replay_and_the_newer_one_is_found() -> None:
    known = record(sequence=8)
    search = Search({"near": FakeServer({ROUTED: record(sequence=7)})})
    newest = RecordFinder(search.fetcher)
    (first,) = _records(newest)
    assert first.record is not None
    assert first.record.raw == known
    search.fetcher.servers["http://router"].request_times.clear()
    search.run(replace(QUERY, records=replace(ASKED, newest=(first.record,))))
    assert search.sequences() == [8]
    assert any("http://near/" in each.reason for each in search.found if isinstance(each, Ignored))


def test_where_the_mode_forbids_it_no_provider_is_asked_and_nothing_waits() -> None:
    search = Search({"near": FakeServer({ROUTED: record(sequence=7)})})
    assert search.run(replace(QUERY, records=replace(ASKED, ask_lan=False))) == 0.0
    assert not search.fetcher.servers["http://near"].requests


def test_a_flood_of_announcements_costs_a_bounded_number_of_requests() -> None:
    servers = {f"near{number}": FakeServer({}) for number in range(MAX_PROVIDERS * 3)}
    search = Search(servers)
    search.run()
    asked = [name for name in servers if search.fetcher.servers[f"http://{name}"].requests]
    assert len(asked) == MAX_PROVIDERS


def test_a_provider_that_appears_during_the_wait_is_asked() -> None:
    search = Search({"near": FakeServer({ROUTED: record(sequence=7)})}, chance=0.9)

    async def late() -> list[int]:
        async def appear() -> None:
            await asyncio.sleep(TIMES.least)
            _ = [each async for each in search.lan.find(QUERY)]

        appearing = asyncio.create_task(appear())
        async with aclosing(search.finder.find(QUERY)) as found:
            search.found = [await anext(found)]
        await appearing
        return search.sequences()

    assert virtual_time.run(late()) == [7]
    assert not search.fetcher.servers["http://router"].requests


def _records(finder: RecordFinder) -> list[Candidate]:
    async def search() -> list[Candidate]:
        found = finder.find(replace(QUERY, records=replace(ASKED, ask_lan=False)))
        return [each async for each in found if isinstance(each, Candidate)]

    return virtual_time.run(search())
