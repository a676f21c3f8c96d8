"""HTTP providers that delegated routers name: asked for late, used as gateways, each on its own."""

from __future__ import annotations

import asyncio
import json

import pytest

from phase_boot.content.dag_builder import build_dag
from phase_boot.download import ArtifactUnavailable, ProviderSearch, fetch_artifact
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.journal.content_events import SourceFailed, SourceServed
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.dags import car_of
from tests.support.downloads import (
    FakeDownload,
    artifact_of,
    chunked,
    data_of,
    flipped_from,
    gateway_of,
    server_of,
)

DATA = data_of(300_000)
CHUNKS = chunked(DATA)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(CHUNKS)
ASKED = f"routing/v1/providers/{TREE.root}"


def router(*hosts: str, **settings: object) -> FakeServer:
    """Return a router that names HTTP servers by their hosts."""
    addresses = [f"/dns4/{host}/tcp/80/http" for host in hosts]
    reply = {"Providers": [{"Schema": "peer", "ID": "x", "Addrs": addresses}]}
    return FakeServer({ASKED: json.dumps(reply).encode()}, **settings)  # type: ignore[arg-type]


def slow_mirror() -> FakeServer:
    mirror = server_of(DATA, piece_seconds=0.05)
    mirror.files[f"dag/{TREE.root}.car"] = car_of(TREE)
    return mirror


def obtained(
    download: FakeDownload, *, mirrors: tuple[str, ...] = (), routers: tuple[str, ...] = ("router",)
) -> float:
    """Download from mirrors and from what routers name; return the virtual seconds."""
    context = download.context()
    search = ProviderSearch(f"http://{name}" for name in routers)
    named = tuple(f"http://{name}" for name in mirrors)
    sources = download.sources(mirrors=named, gateways=(), providers=search)

    async def obtaining() -> float:
        try:
            fetched, _ = await fetch_artifact(context, sources, ARTIFACT, TREE.root)
            assert content(fetched) == DATA
        finally:
            await sources.close()
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return context.clock.monotonic()

    try:
        return virtual_time.run(obtaining())
    finally:
        assert_every_entry_is_what_it_is_called(download.disk)


def test_where_no_source_is_known_a_router_names_one() -> None:
    gate = gateway_of(DATA, CHUNKS)
    download = FakeDownload(FakeFetcher(router=router("gate"), gate=gate))
    obtained(download)
    assert gate.requests.total() > CHUNKS.count


def test_a_router_is_not_asked_while_known_sources_are_fast() -> None:
    mirror, asked = slow_mirror(), router("gate")
    mirror.piece_seconds = 0.001
    obtained(FakeDownload(FakeFetcher(mirror=mirror, router=asked)), mirrors=("mirror",))
    assert not asked.requests


def test_a_provider_helps_a_slow_mirror() -> None:
    gate = gateway_of(DATA, CHUNKS, piece_seconds=0.01)
    download = FakeDownload(FakeFetcher(mirror=slow_mirror(), router=router("gate"), gate=gate))
    assert obtained(download, mirrors=("mirror",)) < 15 * 0.7
    served = {event.source for event in download.of(SourceServed)}
    assert served == {"http://mirror", "http://gate"}


def test_routers_that_fail_in_every_way_delay_nothing() -> None:
    page = FakeServer({ASKED: b"<html>"})
    large = FakeServer({ASKED: b" " * 400_000}, piece_seconds=0)
    servers = {
        "gone": FakeServer({}),
        "page": page,
        "large": large,
        "hangs": router("gate", hangs=True),
        "router": router("gate"),
    }
    download = FakeDownload(FakeFetcher(gate=gateway_of(DATA, CHUNKS), **servers))
    assert obtained(download, routers=tuple(servers)) < 20
    failed = {event.source for event in download.of(SourceFailed)}
    assert failed == {"http://gone", "http://page", "http://large", "http://hangs"}


def test_a_lying_provider_is_banned_and_another_one_delivers() -> None:
    liar, good = gateway_of(DATA, CHUNKS), gateway_of(DATA, CHUNKS)
    first = f"ipfs/{TREE.root}"
    liar.files[first] = DATA
    liar.tamper = lambda path, data: flipped_from(5)("", data) if path == first else data
    download = FakeDownload(FakeFetcher(router=router("liar", "good"), liar=liar, good=good))
    obtained(download)
    assert download.banned == {"http://liar"}


def test_without_any_provider_the_failure_is_that_of_the_known_sources() -> None:
    download = FakeDownload(FakeFetcher(router=router(), mirror=FakeServer({})))
    with pytest.raises(ArtifactUnavailable, match="mirror"):
        obtained(download, mirrors=("mirror",))


def test_each_artifact_is_asked_for_once() -> None:
    asked = router("gone", "away")
    fetcher = FakeFetcher(router=asked, gone=FakeServer({}), away=FakeServer({}))
    with pytest.raises(ArtifactUnavailable):
        obtained(FakeDownload(fetcher))
    assert asked.requests[ASKED] == 1
