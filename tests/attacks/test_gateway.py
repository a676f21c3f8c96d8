"""Attacks by a gateway: wrong, endless and trickling blocks cost a chunk or some seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.dag_pb import MAX_BLOCK
from phase_boot.download import ArtifactUnavailable, Sources, fetch_artifact
from phase_boot.download.block_client import MAX_REQUESTS, block_path
from phase_boot.download.rate import RATE_SECONDS
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.journal.content_events import ChunkListUnavailable, SourceFailed
from phase_boot.store.disk import Folder
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

DATA = data_of(200_000)
CHUNKS = chunked(DATA)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(CHUNKS)
ROOT = block_path(TREE.root)
LOWEST = block_path(TREE.nodes[-1][0])
FIRST = block_path(Cid.of(Codec.RAW, DATA[:700]))

Twist = Callable[[str, bytes], bytes]


def evil(path: str, tamper: Callable[[bytes], bytes]) -> FakeServer:
    """Return a gateway whose response for one path is changed."""
    return gateway_of(DATA, CHUNKS, tamper=lambda at, data: tamper(data) if at == path else data)


def download_of(**gateways: FakeServer) -> FakeDownload:
    return FakeDownload(FakeFetcher(**gateways))


def obtained(download: FakeDownload, **mirrors: FakeServer) -> float:
    """Download from gateways, and from mirrors if there are any; return the virtual seconds.

    Afterwards every entry of the store hashes to its name, and no request is open.
    """
    gateways = tuple(download.fetcher.servers)
    download.fetcher.servers |= {f"http://{name}": server for name, server in mirrors.items()}
    context = download.context(limits={"slowest_kib_per_second": 4})
    sources = Sources(mirrors=tuple(f"http://{name}" for name in mirrors), gateways=gateways)

    async def obtaining() -> float:
        try:
            fetched, _ = await fetch_artifact(context, sources, ARTIFACT, TREE.root)
            assert content(fetched) == DATA
        finally:
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return context.clock.monotonic()

    try:
        return virtual_time.run(obtaining())
    finally:
        assert_every_entry_is_what_it_is_called(download.disk)


def failures(download: FakeDownload) -> list[tuple[str, bool]]:
    return [(event.source, event.retryable) for event in download.of(SourceFailed)]


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda data: bytes(len(data)), id="zeroes"),
        pytest.param(lambda data: flipped_from(len(data) - 1)("", data), id="one bit"),
        pytest.param(lambda data: b"?" + data, id="longer than promised, from its first byte"),
        pytest.param(lambda data: (b"<html>" * 500)[: len(data)], id="a page"),
        pytest.param(lambda _: DATA[700:1400], id="another block"),
    ],
)
def test_wrong_block_bans_its_gateway_and_costs_one_chunk(
    lie: Callable[[bytes], bytes],
) -> None:
    liar, good = evil(FIRST, lie), gateway_of(DATA, CHUNKS)
    download = download_of(liar=liar, good=good)
    obtained(download)
    assert failures(download) == [("http://liar", False)]
    assert "another sha256" in download.of(SourceFailed)[0].reason
    assert download.banned == {"http://liar"}
    assert good.requests[FIRST] == 1
    asked = liar.requests.total()
    again = FakeDownload(download.fetcher, banned=download.banned)
    again.fetcher.servers = dict(download.fetcher.servers)
    obtained(again)
    assert liar.requests.total() == asked


def test_wrong_blocks_everywhere_leave_nothing_in_the_store() -> None:
    download = download_of(liar=evil(FIRST, lambda data: bytes(len(data))))
    with pytest.raises(ArtifactUnavailable):
        obtained(download)
    assert not download.disk.items(Folder.ENTRIES)
    assert download.banned == {"http://liar"}


def test_block_with_trailing_bytes_is_cut_to_its_size() -> None:
    download = download_of(more=evil(FIRST, lambda data: data + bytes(MAX_BLOCK)))
    obtained(download)
    assert not download.of(SourceFailed)


def test_short_block_is_a_failure_without_a_ban() -> None:
    short = evil(FIRST, lambda data: data[:-1])
    download = download_of(short=short, good=gateway_of(DATA, CHUNKS))
    obtained(download)
    assert failures(download) == [("http://short", False)]
    assert not download.banned


@pytest.mark.parametrize("path", [ROOT, LOWEST], ids=["root", "lowest"])
@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda data: data[:-1] + b"?", id="another byte"),
        pytest.param(lambda data: data[: len(data) // 2], id="half of it"),
        pytest.param(lambda data: data + b"?", id="a byte more"),
        pytest.param(lambda _: b"<html>" * 999, id="a page"),
    ],
)
def test_wrong_node_bans_its_gateway_and_the_next_one_continues(
    path: str, lie: Callable[[bytes], bytes]
) -> None:
    liar, good = evil(path, lie), gateway_of(DATA, CHUNKS)
    download = download_of(liar=liar, good=good)
    obtained(download)
    assert failures(download) == [("http://liar", False)]
    assert download.banned == {"http://liar"}
    assert not download.of(ChunkListUnavailable)
    # It is not asked for chunks, and what it sent before the lie is not asked for again.
    assert FIRST not in liar.requests
    assert good.requests[path] == 1
    assert good.requests[ROOT] == (path == ROOT)


@pytest.mark.parametrize("path", [ROOT, LOWEST], ids=["root", "lowest"])
def test_node_larger_than_a_block_is_never_accepted(path: str) -> None:
    liar, good = evil(path, lambda _: bytes(MAX_BLOCK + 1)), gateway_of(DATA, CHUNKS)
    download = download_of(liar=liar, good=good)
    obtained(download)
    assert not download.of(ChunkListUnavailable)
    assert good.requests[path] == 1


def test_endless_node_is_cut_off_at_the_size_of_a_block() -> None:
    endless = gateway_of(DATA, CHUNKS, endless=ROOT, piece_seconds=0)
    good = gateway_of(DATA, CHUNKS)
    download = download_of(endless=endless, good=good)
    obtained(download)
    assert failures(download) == [("http://endless", False)]


def test_trickling_chunk_list_is_left_for_the_next_source() -> None:
    slow = gateway_of(DATA, CHUNKS, piece_seconds=RATE_SECONDS - 1)
    download = download_of(slow=slow, good=gateway_of(DATA, CHUNKS))
    assert obtained(download) < RATE_SECONDS
    assert not download.banned


def test_trickling_chunk_list_of_a_single_gateway_is_given_up() -> None:
    slow = gateway_of(DATA, CHUNKS, piece_seconds=RATE_SECONDS - 1)
    download = download_of(slow=slow)
    with pytest.raises(ArtifactUnavailable):
        obtained(download)
    reasons = [event.reason for event in download.of(SourceFailed)]
    assert "less than 4 KiB a second" in reasons[0]


def test_chunk_list_that_never_begins_is_left_for_the_next_source() -> None:
    silent = gateway_of(DATA, CHUNKS, silent_after=0)
    download = download_of(silent=silent, good=gateway_of(DATA, CHUNKS))
    assert obtained(download) < RATE_SECONDS
    # Once for a node of the list, and once for a chunk after it was held back.
    assert silent.requests.total() <= 2


def test_gateways_that_fail_in_every_way_stop_no_mirror() -> None:
    mirror = server_of(DATA)
    mirror.files[f"dag/{TREE.root}.car"] = car_of(TREE)
    download = download_of(
        liar=evil(FIRST, lambda data: bytes(len(data))),
        gone=FakeServer({}),
        hangs=gateway_of(DATA, CHUNKS, hangs=True),
        busy=gateway_of(DATA, CHUNKS, busy_every=1),
        portal=gateway_of(DATA, CHUNKS, portal="it sent us to http://portal.example/"),
        silent=gateway_of(DATA, CHUNKS, silent_after=0),
    )
    obtained(download, mirror=mirror)
    assert download.banned <= {"http://liar"}


def test_a_signed_trap_dag_causes_no_requests_beyond_the_bounds() -> None:
    trap = gateway_of(DATA, CHUNKS)
    trap.files[ROOT] = trap.files[LOWEST]
    download = download_of(trap=trap)
    with pytest.raises(ArtifactUnavailable):
        obtained(download)
    assert trap.requests.total() <= MAX_REQUESTS
    assert not download.disk.items(Folder.ENTRIES)
