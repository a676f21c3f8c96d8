"""Downloads from trustless gateways: alone, beside mirrors, and without leftover requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.download import ArtifactUnavailable, Sources, fetch_artifact
from phase_boot.download.block_client import MAX_REQUESTS, block_path
from phase_boot.download.gateway_source import GatewaySource
from phase_boot.download.rate import KIB
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.journal.content_events import (
    ChunkListUnavailable,
    FetchDone,
    SourceFailed,
    SourceServed,
)
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.disk import Folder
from phase_boot.store.layout import entry_path
from policies.model import Reach
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.dags import car_of
from tests.support.downloads import (
    CountingFetcher,
    FakeDownload,
    artifact_of,
    chunked,
    data_of,
    gateway_of,
    server_of,
)

DATA = data_of(200_000)
CHUNKS = chunked(DATA)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(CHUNKS)
CAR = f"dag/{TREE.root}.car"
FILE = f"ipfs/{TREE.root}"
"""The path of the file itself at a gateway."""


def gateway(**settings: Any) -> FakeServer:
    return gateway_of(DATA, CHUNKS, **settings)


def download_of(*mirrors: str, **servers: FakeServer) -> FakeDownload:
    """Return downloads for which all servers but ``mirrors`` are gateways."""
    fetcher = CountingFetcher(**servers)
    gateways = tuple(f"http://{name}" for name in servers if name not in mirrors)
    return GatewayDownload(
        fetcher, gateways=gateways, mirrors=tuple(f"http://{name}" for name in mirrors)
    )


class GatewayDownload(FakeDownload):
    def __init__(
        self, fetcher: FakeFetcher, *, gateways: tuple[str, ...], mirrors: tuple[str, ...]
    ) -> None:
        super().__init__(fetcher)
        self.known: dict[str, Any] = {"gateways": gateways, "mirrors": mirrors}

    def sources(self, **changes: Any) -> Sources:
        return super().sources(**(self.known | changes))


def obtained(download: FakeDownload, root: Cid | None = TREE.root, **changes: Any) -> str:
    """Download the artifact; return the main source."""

    async def obtaining() -> str:
        fetched, source = await fetch_artifact(
            download.context(**changes), download.sources(), ARTIFACT, root
        )
        assert content(fetched) == DATA
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return source

    source = virtual_time.run(obtaining())
    assert_every_entry_is_what_it_is_called(download.disk)
    assert not download.disk.items(Folder.PARTIALS)
    return source


def test_one_gateway_suffices_for_the_chunk_list_and_the_chunks() -> None:
    gate = gateway()
    download = download_of(gate=gate)
    assert obtained(download) == "http://gate"
    refused = sorted(set(gate.requests) - set(gate.files))
    # It has neither the file nor CARs of it, and was asked for each once.
    assert [path.partition("&")[0] for path in refused] == [FILE, f"{FILE}?format=car"]
    assert [gate.requests[path] for path in refused] == [1, 1]
    once = len(TREE.nodes) + CHUNKS.count
    # Older versions are asked as soon as it is known which nodes are lowest; some are under way.
    assert once <= gate.requests.total() <= once + MAX_REQUESTS
    assert not download.of(SourceFailed)
    (done,) = download.of(FetchDone)
    assert done.source == "http://gate"


def test_gateways_continue_after_all_mirrors_failed() -> None:
    download = download_of(
        "gone", "empty", gone=FakeServer({}, hangs=True), empty=FakeServer({}), gate=gateway()
    )
    assert obtained(download) == "http://gate"
    assert not download.of(ChunkListUnavailable)


def test_several_gateways_share_the_work_and_its_bound() -> None:
    gates = {f"g{n}": gateway() for n in range(6)}
    download = download_of(**gates)
    obtained(download)
    assert all(gate.requests.total() > 10 for gate in gates.values())
    assert {event.source for event in download.of(SourceServed)} == {
        f"http://{name}" for name in gates
    }
    assert isinstance(download.fetcher, CountingFetcher)
    assert download.fetcher.most <= 6 * (32 // 6)


def test_open_requests_to_one_gateway_are_bounded() -> None:
    download = download_of(gate=gateway())
    obtained(download)
    assert isinstance(download.fetcher, CountingFetcher)
    assert download.fetcher.most == MAX_REQUESTS


def test_mirrors_and_gateways_are_used_together_and_a_mirror_sends_the_chunk_list() -> None:
    mirror, gate = server_of(DATA), gateway()
    mirror.files[CAR] = car_of(TREE)
    download = download_of("mirror", mirror=mirror, gate=gate)
    obtained(download)
    assert {event.source for event in download.of(SourceServed)} == {"http://mirror", "http://gate"}
    nodes = {block_path(cid) for cid, _ in TREE.nodes}
    assert not nodes & set(gate.requests)


def test_a_chunk_list_that_a_mirror_cut_short_is_completed_by_cids() -> None:
    mirror, gate = server_of(DATA), gateway()
    mirror.files[CAR] = car_of(TREE)[:1500]
    download = download_of("mirror", mirror=mirror, gate=gate)
    obtained(download)
    assert not download.of(ChunkListUnavailable)
    assert block_path(TREE.root) not in gate.requests
    assert block_path(TREE.nodes[-1][0]) in gate.requests
    (index,) = download.disk.items(Folder.INDEXES)
    fd = download.disk.open(Folder.INDEXES, index.name)
    with open(fd, "rb") as file:  # noqa: PTH123 - it is a descriptor
        assert file.read() == car_of(TREE)


def test_a_gateway_without_a_block_is_given_up_and_another_continues() -> None:
    half, gate = gateway(), gateway()
    for cid, _ in TREE.nodes[3:]:
        del half.files[block_path(cid)]
    download = download_of(half=half, gate=gate)
    obtained(download)
    failed = download.of(SourceFailed)
    assert [(each.source, each.retryable) for each in failed] == [("http://half", False)]
    assert "HTTP 404" in failed[0].reason
    assert not download.banned
    assert gate.requests[block_path(TREE.root)] == 0


def test_blocks_that_one_gateway_lacks_come_from_another() -> None:
    holed, gate = gateway(), gateway()
    del holed.files[block_path(Cid.of(Codec.RAW, DATA[-CHUNKS.chunk(CHUNKS.count - 1).size :]))]
    del gate.files[block_path(Cid.of(Codec.RAW, DATA[:700]))]
    download = download_of(holed=holed, gate=gate)
    obtained(download)
    assert not download.banned


def test_without_the_cid_of_its_dag_no_gateway_is_used() -> None:
    gate, mirror = gateway(), server_of(DATA)
    download = download_of("mirror", mirror=mirror, gate=gate)
    assert obtained(download, None) == "http://mirror"
    assert not gate.requests


def test_no_file_is_requested_from_a_gateway_by_its_sha256() -> None:
    gate = gateway()
    for cid, _ in TREE.nodes:
        del gate.files[block_path(cid)]
    gate.files[entry_path(ARTIFACT.digest)] = DATA
    download = download_of(gate=gate)
    with pytest.raises(ArtifactUnavailable):
        obtained(download)
    assert download.of(ChunkListUnavailable)
    assert set(gate.requests) == {block_path(TREE.root), FILE}
    assert not download.disk.items(Folder.ENTRIES)


def test_a_gateway_without_ranges_is_given_up_and_no_whole_file_requested() -> None:
    gate = gateway()
    gate.files[entry_path(ARTIFACT.digest)] = DATA
    mirror = FakeServer({CAR: car_of(TREE)})
    download = download_of("mirror", mirror=mirror, gate=gate)
    assert isinstance(download.fetcher, CountingFetcher)
    download.fetcher.refusing = "http://gate"
    with pytest.raises(ArtifactUnavailable, match="only as a whole"):
        obtained(download)
    assert not download.fetcher.offsets
    assert not gate.requests


def test_a_gateway_that_is_busy_at_times_delivers() -> None:
    gate = gateway(busy_every=90)
    # The list is not asked for twice; a mirror has it.
    download = download_of("mirror", mirror=FakeServer({CAR: car_of(TREE)}), gate=gate)
    assert obtained(download) == "http://gate"
    assert any(event.retryable for event in download.of(SourceFailed))


class LimitedLink(FakeFetcher):
    """All responses share one slow line."""

    def __init__(self, rate: float, **servers: FakeServer) -> None:
        super().__init__(**servers)
        self.line, self.rate = asyncio.Lock(), rate

    async def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        answer = super().span(url, offset=offset, length=length, reach=reach, redirects=redirects)
        async with aclosing(answer) as pieces:
            async for piece in pieces:
                async with self.line:
                    await asyncio.sleep(len(piece) / self.rate)
                yield piece


def test_a_line_barely_above_the_lowest_rate_delivers() -> None:
    # The first batch of requests would arrive after the time limit.
    size, data = 32 * KIB, data_of(1280 * KIB)
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    chunks = ChunkList.of((bytes.fromhex(Digest.of(piece).hex), size) for piece in cut)
    download = FakeDownload(LimitedLink(5 * KIB, gate=gateway_of(data, chunks, piece_seconds=0)))
    context = download.context(limits={"slowest_kib_per_second": 4})
    sources, root = Sources(gateways=("http://gate",)), build_dag(chunks).root

    async def obtaining() -> None:
        fetched, _ = await fetch_artifact(context, sources, artifact_of(data), root)
        assert content(fetched) == data

    virtual_time.run(obtaining())
    assert not download.of(SourceFailed)


def test_a_gateway_that_falls_silent_gets_fewer_requests_and_is_given_up() -> None:
    quiet = gateway(silent_after=0)
    mirror = server_of(DATA, piece_seconds=0.5)
    mirror.files[CAR] = car_of(TREE)
    download = download_of("mirror", mirror=mirror, quiet=quiet)
    assert obtained(download) == "http://mirror"
    of_chunks = [path for path in quiet.requests.elements() if block_path(TREE.root) != path]
    assert len(of_chunks) <= 5


def test_a_new_version_requests_only_nodes_and_chunks_that_the_stored_one_lacks() -> None:
    download = download_of(gate=gateway())
    obtained(download)
    changed = DATA[:120_000] + bytes(700) + DATA[120_700:]
    chunks = chunked(changed)
    new, gate = artifact_of(changed), gateway_of(changed, chunks)
    later = download_of(gate=gate)
    later.disk = download.disk

    async def obtaining() -> None:
        root = build_dag(chunks).root
        fetched, _ = await fetch_artifact(later.context(), later.sources(), new, root)
        assert content(fetched) == changed

    virtual_time.run(obtaining())
    assert gate.requests.total() < len(gate.files) / 3
    assert {event.source for event in later.of(SourceServed)} == {"store"}


def test_a_read_that_is_closed_early_leaves_no_request_open() -> None:
    fetcher = CountingFetcher(gate=gateway())
    download = FakeDownload(fetcher)

    async def hanging_up() -> None:
        source = GatewaySource(download.context(), "http://gate", TREE.root, CHUNKS)
        for _ in range(3):
            got = bytearray()
            async with aclosing(source.read(0, len(DATA))) as pieces:
                async for piece in pieces:
                    got += piece
                    if len(got) > 20_000:
                        break
            assert DATA.startswith(got)
            assert fetcher.now == 0
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(hanging_up())
    assert fetcher.most == MAX_REQUESTS


@pytest.mark.parametrize("seconds", [0.015, 0.5, 1.5])
def test_a_cancelled_download_leaves_no_request_open(seconds: float) -> None:
    download = download_of(gate=gateway(piece_seconds=0.1))

    async def stopped() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await fetch_artifact(download.context(), download.sources(), ARTIFACT, TREE.root)
        assert isinstance(download.fetcher, CountingFetcher)
        assert download.fetcher.now == 0
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(stopped())
    assert not download.disk.items(Folder.ENTRIES)


def test_a_missing_block_fails_after_all_blocks_before_it() -> None:
    gate = gateway()
    del gate.files[block_path(Cid.of(Codec.RAW, DATA[2001 : 2001 + 999]))]
    download = FakeDownload(FakeFetcher(gate=gate))

    got = bytearray()

    async def failing() -> None:
        source = GatewaySource(download.context(), "http://gate", TREE.root, CHUNKS)
        async with aclosing(source.read(0, len(DATA))) as pieces:
            async for piece in pieces:
                got.extend(piece)

    with pytest.raises(FetchFailed, match="404"):
        virtual_time.run(failing())
    assert bytes(got) == DATA[:2001]


def test_requests_have_the_reach_of_the_policy() -> None:
    download = download_of(gate=gateway())
    policy = download.context().policy
    near = replace(policy.network, reach=Reach.LAN)
    obtained(download, policy=replace(policy, network=near))
    assert download.fetcher.reaches == {Reach.LAN}
    assert isinstance(download.disk, MemoryDisk)
