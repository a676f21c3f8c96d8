"""Gateways that serve files: used like mirrors, by byte ranges of the file that a CID names."""

from __future__ import annotations

import asyncio

import pytest

from phase_boot.content.cid import Cid
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.list_file import list_root
from phase_boot.download import ArtifactUnavailable, fetch_artifact
from phase_boot.download.block_client import MAX_REQUESTS
from phase_boot.download.context import DownloadContext
from phase_boot.download.gateway_formats import Format
from phase_boot.download.index_fetch import fetch_chunk_list
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.journal.content_events import FetchStarted, SourceFailed, SourceServed
from phase_boot.store.disk import Folder
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.dags import car_of
from tests.support.downloads import (
    CountingFetcher,
    FakeDownload,
    artifact_of,
    chunked,
    data_of,
    flipped_from,
    gateway_of,
    server_of,
)

DATA = data_of(3_000_000)
CHUNKS = chunked(DATA)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(CHUNKS)
FILE = f"ipfs/{TREE.root}"
NODES = frozenset(f"ipfs/{cid}?format=raw" for cid, _ in TREE.nodes)
GATE = "http://gate"
LIST = car_of(TREE)
LIST_FILE = f"ipfs/{list_root(LIST)}"
LISTED = {TREE.root: list_root(LIST)}


def file_gateway(*, rate: float = 1e6, **settings: object) -> FakeServer:
    """Return a gateway with the file and the nodes above its chunks, and not the chunks."""
    gate = gateway_of(DATA, CHUNKS, piece_seconds=1000 / rate, quick=NODES, **settings)
    gate.files = {path: block for path, block in gate.files.items() if path in NODES}
    gate.files[FILE] = DATA
    return gate


def obtained(
    download: FakeDownload,
    *,
    context: DownloadContext | None = None,
    mirrors: tuple[str, ...] = (),
    chunk_lists: dict[Cid, Cid] | None = None,
) -> float:
    """Download from all servers but ``mirrors`` as gateways; return the virtual seconds."""
    gateways = tuple(each for each in download.fetcher.servers if each not in mirrors)
    sources = download.sources(
        gateways=gateways, mirrors=mirrors, chunk_lists={} if chunk_lists is None else chunk_lists
    )
    context = context or download.context()

    async def obtaining() -> float:
        began = context.clock.monotonic()
        try:
            fetched, _ = await fetch_artifact(context, sources, ARTIFACT, TREE.root)
            assert content(fetched) == DATA
        finally:
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return context.clock.monotonic() - began

    try:
        return virtual_time.run(obtaining())
    finally:
        assert_every_entry_is_what_it_is_called(download.disk)


def test_a_gateway_that_serves_files_is_asked_for_no_block_of_them() -> None:
    gate = file_gateway()
    download = FakeDownload(FakeFetcher(gate=gate))
    obtained(download)
    assert set(gate.requests) == {FILE, *NODES}
    assert not download.of(SourceFailed)
    assert len(download.of(FetchStarted)) == 1


def test_a_published_chunk_list_is_read_as_a_file_without_its_nodes() -> None:
    gate = file_gateway()
    gate.files[LIST_FILE] = LIST
    download = FakeDownload(FakeFetcher(gate=gate))
    obtained(download, chunk_lists=LISTED)
    assert set(gate.requests) == {FILE, LIST_FILE}
    assert gate.requests[LIST_FILE] <= len(LIST) // 1024
    assert not download.of(SourceFailed)


LARGE = data_of(25_000_000)
LARGE_CHUNKS = chunked(LARGE)
LARGE_TREE = build_dag(LARGE_CHUNKS)
LARGE_LIST = car_of(LARGE_TREE)


@pytest.mark.parametrize(("seconds", "most"), [(0.0, 4), (0.1, 2)])
def test_ranges_of_a_chunk_list_are_requested_at_once_where_they_come_quickly(
    seconds: float, most: int
) -> None:
    # A slow list is asked for a node too, which takes the second request.
    listed = list_root(LARGE_LIST)
    gate = FakeServer({f"ipfs/{listed}": LARGE_LIST}, piece_seconds=seconds)
    fetcher = CountingFetcher(gate=gate)
    download = FakeDownload(fetcher)
    sources = download.sources(mirrors=(), gateways=(GATE,), chunk_lists={LARGE_TREE.root: listed})

    async def reading() -> None:
        artifact = artifact_of(LARGE)
        found = await fetch_chunk_list(download.context(), sources, artifact, LARGE_TREE.root)
        assert found is not None
        assert found[1] == LARGE_CHUNKS

    virtual_time.run(reading())
    assert fetcher.most == most


def test_a_chunk_list_that_a_gateway_lacks_is_read_node_by_node() -> None:
    gate = file_gateway()
    download = FakeDownload(FakeFetcher(gate=gate))
    obtained(download, chunk_lists=LISTED)
    assert gate.requests[LIST_FILE] == 1
    assert set(gate.requests) == {FILE, LIST_FILE, *NODES}
    assert not download.banned


def test_a_chunk_list_that_never_comes_delays_its_nodes_for_a_moment() -> None:
    silent, gate = FakeServer({}, hangs=True), file_gateway(rate=1e7)
    download = FakeDownload(FakeFetcher(silent=silent, gate=gate))
    assert obtained(download, chunk_lists=LISTED) < 3


@pytest.mark.parametrize("offset", [0, 2_000, len(LIST) - 1])
def test_a_wrong_byte_of_a_chunk_list_is_not_used_and_bans_no_gateway(offset: int) -> None:
    gate = file_gateway()
    gate.files[LIST_FILE] = flipped_from(offset)("", LIST)
    download = FakeDownload(FakeFetcher(gate=gate))
    # The file may be another one by a mistake of the publisher.
    obtained(download, chunk_lists=LISTED)
    assert not download.banned
    (failed,) = download.of(SourceFailed)
    assert "not the signed list of chunks" in failed.reason
    assert NODES & set(gate.requests)


def test_a_gateway_that_serves_no_files_is_not_asked_for_the_next_chunk_list() -> None:
    gate = gateway_of(DATA, CHUNKS, piece_seconds=0.001)
    gate.files[LIST_FILE] = LIST
    download = FakeDownload(FakeFetcher(gate=gate))
    context = download.context()
    context.formats.sent(GATE, Format.RAW)
    obtained(download, context=context, chunk_lists=LISTED)
    assert not gate.requests[LIST_FILE]


def test_several_spans_of_a_file_are_requested_at_once() -> None:
    gate = file_gateway(rate=1e5)
    # Each response has this rate: four of them are four times as fast.
    assert obtained(FakeDownload(FakeFetcher(gate=gate))) < len(DATA) / 1e5 / 2


def test_a_slow_gateway_gets_more_requests_while_that_makes_it_faster() -> None:
    slow = file_gateway(rate=1e4)
    assert obtained(FakeDownload(FakeFetcher(slow=slow))) < len(DATA) / 1e4 / 10


def test_open_requests_to_all_gateways_are_bounded() -> None:
    fetcher = CountingFetcher(**{f"g{n}": file_gateway(rate=2e3) for n in range(5)})
    obtained(FakeDownload(fetcher))
    assert 10 < fetcher.most <= MAX_REQUESTS


def test_what_one_artifact_showed_of_a_gateway_holds_for_the_next() -> None:
    blocks = gateway_of(DATA, CHUNKS, piece_seconds=0.001)
    download = FakeDownload(FakeFetcher(gate=blocks))
    context = download.context()
    obtained(download, context=context)
    assert context.formats.of(GATE) is Format.RAW
    other = FakeDownload(download.fetcher)
    obtained(other, context=other.context(formats=context.formats))
    assert blocks.requests[FILE] == 1


def test_a_gateway_that_lacks_the_file_is_not_remembered_as_one_without_files() -> None:
    download = FakeDownload(FakeFetcher(gate=FakeServer(dict.fromkeys((), b""))))
    context = download.context()
    with pytest.raises(ArtifactUnavailable):
        obtained(download, context=context)
    assert context.formats.of(GATE) is None


@pytest.mark.parametrize("offset", [0, 1_000_000, len(DATA) - 1])
def test_a_wrong_byte_of_a_file_costs_one_span_and_bans_the_gateway(offset: int) -> None:
    liar, good = file_gateway(), file_gateway()
    liar.tamper = lambda path, data: flipped_from(offset)("", data) if path == FILE else data
    download = FakeDownload(FakeFetcher(liar=liar, good=good))
    obtained(download)
    failed = [event.source for event in download.of(SourceFailed)]
    # It may never be asked for the wrong byte.
    assert failed in ([], ["http://liar"])
    assert download.banned == set(failed)
    if not offset:
        assert failed


def test_a_page_in_place_of_the_file_bans_the_gateway_after_one_request() -> None:
    liar, good = file_gateway(), file_gateway()
    liar.tamper = lambda path, data: b"<html>" * 100_000 if path == FILE else data
    download = FakeDownload(FakeFetcher(liar=liar, good=good))
    obtained(download)
    assert download.banned == {"http://liar"}
    assert liar.requests[FILE] == 1


def test_a_gateway_that_sends_only_whole_files_is_asked_for_blocks() -> None:
    gate = gateway_of(DATA, CHUNKS, piece_seconds=0.001, whole_only=True)
    gate.files[FILE] = DATA
    download = FakeDownload(FakeFetcher(gate=gate))
    obtained(download)
    assert not download.of(SourceFailed)
    assert not download.fetcher.offsets


def test_a_gateway_that_ends_every_response_early_stops_no_mirror() -> None:
    cut, mirror = file_gateway(), server_of(DATA, piece_seconds=0.02)
    cut.files[FILE] = DATA[:1_000_000]
    mirror.files[f"dag/{TREE.root}.car"] = car_of(TREE)
    download = FakeDownload(FakeFetcher(cut=cut, mirror=mirror))
    obtained(download, mirrors=("http://mirror",))
    assert not download.banned


def test_a_gateway_with_the_file_and_no_block_sends_all_of_it() -> None:
    liar, gate = FakeServer({FILE: DATA[::-1]}), FakeServer({FILE: DATA}, piece_seconds=0.0001)
    download = FakeDownload(FakeFetcher(liar=liar, gate=gate))
    obtained(download)
    assert download.banned <= {"http://liar"}
    assert gate.requests[FILE] <= 2


def test_a_file_that_is_not_what_was_signed_is_not_kept() -> None:
    download = FakeDownload(FakeFetcher(liar=FakeServer({FILE: DATA[::-1]}, piece_seconds=0.0001)))
    with pytest.raises(ArtifactUnavailable):
        obtained(download)
    assert download.banned == {"http://liar"}
    assert not download.disk.items(Folder.ENTRIES)


def test_no_gateway_is_asked_while_a_mirror_is_fast() -> None:
    gate, mirror = file_gateway(), server_of(DATA, piece_seconds=0.0002)
    mirror.files[f"dag/{TREE.root}.car"] = car_of(TREE)
    download = FakeDownload(FakeFetcher(gate=gate, mirror=mirror))
    obtained(download, mirrors=("http://mirror",))
    assert not gate.requests


def test_a_gateway_does_not_wait_for_a_mirror_that_stays_silent() -> None:
    gate, mirror = file_gateway(rate=1e7), server_of(DATA, hangs=True)
    mirror.quick = frozenset({f"dag/{TREE.root}.car"})
    download = FakeDownload(FakeFetcher(gate=gate, mirror=mirror))
    assert obtained(download, mirrors=("http://mirror",)) < 3


def test_requests_that_fail_in_one_lane_do_not_end_the_others() -> None:
    gate = file_gateway(rate=1e5, busy_every=4)
    mirror = server_of(b"")
    mirror.files = {f"dag/{TREE.root}.car": car_of(TREE)}
    download = FakeDownload(FakeFetcher(gate=gate, mirror=mirror))
    obtained(download, mirrors=("http://mirror",))
    assert {event.source for event in download.of(SourceServed)} <= {GATE}
    assert not download.disk.items(Folder.PARTIALS)
