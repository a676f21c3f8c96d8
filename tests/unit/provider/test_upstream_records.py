"""A provider asks routers for the machines of its network once, and believes no router."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from phase_boot.adapters.finders.ipns_http import RecordFinder
from phase_boot.adapters.finders.lan_providers import LanProviders
from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.content.arch import Arch
from phase_boot.drill.fakes import FakeFinder
from phase_boot.ports.finder import Candidate, DiscoveryQuery, RecordQuery
from phase_boot.provider.gateway import upstream_records
from phase_boot.provider.gateway.upstream_records import MAX_NAMES, UpstreamRecords
from phase_boot.store.layout import record_paths
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import MAX_RECORD
from phase_boot.trust.keys import SigningKey
from policies.model import Reach
from tests.support.announced_site import make_announced_site
from tests.support.ipns_records import ANNOUNCING_KEY, MIRROR, NAME, OTHER_KEY, record
from tests.support.provider import MANIFEST, Running, ask, running
from tests.support.record_servers import RecordServer, answer, hang, record_server

ROUTED = f"/{record_paths(NAME)[0]}"
SOON = datetime.now(UTC) + timedelta(hours=1)
OWN = record(sequence=5, validity=SOON)
NEWER = record(sequence=6, validity=SOON)
MACHINES = 20


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = make_announced_site(tmp_path)
    plant(root, NAME, OWN)
    return root


@pytest.fixture
def router() -> Iterator[RecordServer]:
    with record_server() as server:
        yield server


def plant(site: Path, name: IpnsName, raw: bytes) -> None:
    for path in record_paths(name):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(raw)


@asynccontextmanager
async def provided(site: Path, *routers: RecordServer) -> AsyncIterator[Running]:
    """Serve ``site`` as a provider that asks ``routers``."""
    fetcher = HttpFetcher()
    upstream = UpstreamRecords(fetcher, tuple(each.url for each in routers))
    async with running(site, upstream=upstream) as provider:
        try:
            yield provider
        finally:
            await fetcher.close()


async def machine(fetcher: HttpFetcher, provider: str, router: str) -> str:
    """Look for the record as a machine of the network does; return its first candidate."""
    records = RecordQuery(
        names=(NAME,),
        routers=(router,),
        gateways=(),
        now=datetime.now(UTC),
        reach=Reach.INTERNET,
        redirects=0,
        ask_lan=True,
    )
    query = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=5, urls=(), records=records)
    lan = LanProviders(FakeFinder([provider + MANIFEST]))
    found = [each async for each in lan.find(query)]
    assert len(found) == 1
    finder = RecordFinder(fetcher, lan, chance=lambda: 0.0)
    async with aclosing(finder.find(query)) as candidates:
        first = await anext(candidates)
    assert isinstance(first, Candidate), first
    return first.url


async def test_twenty_machines_of_one_network_cost_a_router_one_request(
    site: Path, router: RecordServer
) -> None:
    router.records[str(NAME)] = NEWER
    async with provided(site, router) as provider:
        base = f"http://127.0.0.1:{provider.port}"
        fetchers = [HttpFetcher(near=lambda _: True) for _ in range(MACHINES)]
        found = await asyncio.gather(*(machine(each, base, router.url) for each in fetchers))
        await asyncio.gather(*(each.close() for each in fetchers))
    assert found == [MIRROR] * MACHINES
    assert router.asked == [f"GET {ROUTED}"]


async def test_the_newer_record_of_a_router_is_served_by_both_paths(
    site: Path, router: RecordServer
) -> None:
    router.records[str(NAME)] = NEWER
    async with provided(site, router) as provider:
        answers = [await ask(provider.port, ROUTED)]
        answers.append(await ask(provider.port, f"/{record_paths(NAME)[1]}?format=ipns-record"))
        same = await ask(provider.port, ROUTED, If_None_Match=answers[0].headers["ETag"])
    assert [each.body for each in answers] == [NEWER, NEWER]
    assert same.status == 304
    assert len(router.asked) == 1
    assert (site / ROUTED[1:]).read_bytes() == OWN


@pytest.mark.parametrize(
    "raw",
    [
        record(OTHER_KEY, sequence=9, validity=SOON),
        record(sequence=9, validity=datetime(2025, 1, 1, tzinfo=UTC)),
        record(sequence=4, validity=SOON),
        NEWER[:-1],
        b"routing: not found",
        b"x" * (MAX_RECORD + 1),
    ],
    ids=["another key", "expired", "older", "cut", "text", "too large"],
)
async def test_what_a_router_invents_is_neither_served_nor_kept(
    site: Path, router: RecordServer, raw: bytes
) -> None:
    router.records[str(NAME)] = raw
    async with provided(site, router) as provider:
        bodies = [(await ask(provider.port, ROUTED)).body for _ in range(2)]
    assert bodies == [OWN, OWN]
    assert len(router.asked) == 1


async def test_a_router_that_hangs_hides_no_other_and_its_own_record_is_served(
    site: Path, router: RecordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_records, "ANSWER_SECONDS", 0.5)
    router.records[str(NAME)] = NEWER
    with record_server() as hanging:
        hanging.give = hang
        async with provided(site, hanging, router) as provider:
            assert (await ask(provider.port, ROUTED)).body == NEWER
        async with provided(site, hanging) as provider:
            assert (await ask(provider.port, ROUTED)).body == OWN


async def test_no_router_is_asked_for_a_name_that_is_not_served(
    site: Path, router: RecordServer
) -> None:
    other = IpnsName(OTHER_KEY.keyid)
    router.records[str(other)] = record(OTHER_KEY, sequence=9, validity=SOON)
    async with provided(site, router) as provider:
        assert (await ask(provider.port, f"/{record_paths(other)[0]}")).status == 404
    assert router.asked == []


async def test_more_names_than_are_kept_are_served_from_their_files(
    site: Path, router: RecordServer
) -> None:
    router.give = answer("text/plain", b"", 404)
    keys = [SigningKey(bytes([number]) * 32) for number in range(1, MAX_NAMES + 2)]
    names = [IpnsName(key.keyid) for key in keys]
    for key, name in zip(keys, names, strict=True):
        plant(site, name, record(key, validity=SOON))
    async with provided(site, router) as provider:
        statuses = [(await ask(provider.port, f"/{record_paths(n)[0]}")).status for n in names]
    assert statuses == [200] * len(names)
    assert len(router.asked) == MAX_NAMES


async def test_an_own_record_that_is_newer_than_the_kept_one_is_served_at_once(
    site: Path, router: RecordServer
) -> None:
    router.records[str(NAME)] = NEWER
    newest = record(ANNOUNCING_KEY, sequence=7, validity=SOON)
    async with provided(site, router) as provider:
        assert (await ask(provider.port, ROUTED)).body == NEWER
        plant(site, NAME, newest)
        assert (await ask(provider.port, ROUTED)).body == newest
