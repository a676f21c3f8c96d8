"""Downloads from several sources: duration, shares of the work, and sources given up."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from phase_boot.download import ArtifactUnavailable
from phase_boot.download.mirror_source import MirrorSource
from phase_boot.download.swarm import FIRST_SPAN, Swarm
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.journal.content_events import FetchProgress, SourceFailed, SourceServed
from phase_boot.store.content_store import VerifiedFile
from phase_boot.store.disk import Folder
from phase_boot.store.errors import NoSpace
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.downloads import (
    FakeDownload,
    artifact_of,
    chunked,
    data_of,
    flipped_from,
    server_of,
)

DATA = data_of(3_000_000)
CHUNKS = chunked(DATA)
ARTIFACT = artifact_of(DATA)


async def swarmed(download: FakeDownload, **changes: object) -> tuple[VerifiedFile, float]:
    """Download the artifact; return it and the seconds it took."""
    context = download.context(**changes)
    began = context.clock.monotonic()
    writer = context.store.chunk_writer(ARTIFACT, CHUNKS)
    try:
        swarm = Swarm(context, writer)
        await swarm.run(MirrorSource(context, base, ARTIFACT) for base in download.fetcher.servers)
        seconds = context.clock.monotonic() - began
        return context.store.commit(writer), seconds
    except BaseException:
        writer.close()
        raise


def run(download: FakeDownload, **changes: object) -> float:
    """Download from fake servers and check the store afterwards."""

    async def fetching() -> float:
        fetched, seconds = await swarmed(download, **changes)
        assert content(fetched) == DATA
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return seconds

    seconds = virtual_time.run(fetching())
    assert_every_entry_is_what_it_is_called(download.disk)
    return seconds


def servers(**rates: float) -> FakeFetcher:
    """Return mirrors with these rates in bytes per second."""
    return FakeFetcher(
        **{n: server_of(DATA, piece_seconds=1000 / rate) for n, rate in rates.items()}
    )


def alone(rate: float) -> float:
    return len(DATA) / rate


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_several_sources_are_faster_in_proportion(count: int) -> None:
    download = FakeDownload(servers(**{f"s{n}": 100_000.0 for n in range(count)}))
    assert run(download) < alone(100_000 * count) * 1.08


def test_a_slow_source_among_fast_ones_causes_no_delay() -> None:
    download = FakeDownload(servers(a=1e5, b=1e5, c=1e5, slow=5e3))
    assert run(download) < alone(305_000) * 1.1
    served = Counter({event.source: event.bytes for event in download.of(SourceServed)})
    assert served["http://slow"] < served["http://a"] / 10


def test_a_source_that_never_answers_causes_no_delay() -> None:
    fetcher = servers(a=1e5, b=1e5, slow=5e3)
    fetcher.servers["http://dead"] = server_of(DATA, hangs=True)
    download = FakeDownload(fetcher)
    assert run(download) < alone(205_000) * 1.15


def test_a_source_that_falls_silent_causes_no_delay() -> None:
    fetcher = servers(a=1e5)
    fetcher.servers["http://silent"] = server_of(DATA, piece_seconds=0.01, silent_after=50_000)
    download = FakeDownload(fetcher)
    assert run(download) < alone(1e5) + 5


@pytest.mark.parametrize("offset", [0, 12_345, len(DATA) - 1])
def test_a_source_that_sends_wrong_bytes_costs_one_chunk_and_is_banned(offset: int) -> None:
    fetcher = servers(a=1e5, b=1e5, c=1e5)
    liar = fetcher.servers["http://liar"] = server_of(DATA, piece_seconds=0.01)
    liar.tamper = flipped_from(offset)
    download = FakeDownload(fetcher)
    assert run(download) < alone(3e5) * 1.1
    failed = [event for event in download.of(SourceFailed) if event.source == "http://liar"]
    assert len(failed) <= 1
    if failed:
        assert failed[0].retryable is False
        assert "not what was signed" in failed[0].reason
        assert download.banned == {"http://liar"}
        before = liar.requests.total()
        run(FakeDownload(fetcher, MemoryDisk(), banned=download.banned))
        assert liar.requests.total() == before


def test_one_good_source_among_nine_bad_ones_is_enough() -> None:
    fetcher = servers(good=1e5)
    bad = {
        "liar": server_of(DATA, tamper=lambda _, data: bytes(len(data))),
        "gone": FakeServer({}),
        "hangs": server_of(DATA, hangs=True),
        "busy": server_of(DATA, busy_every=1),
        "portal": server_of(DATA, portal="it sent us to http://portal.example/"),
        "short": server_of(DATA, tamper=lambda _, data: data[:1000]),
        "trickles": server_of(DATA, piece_seconds=14),
        "whole": server_of(DATA, whole_only=True),
        "endless": server_of(DATA, tamper=lambda _, data: data + data),
    }
    fetcher.servers |= {f"http://{name}": server for name, server in bad.items()}
    download = FakeDownload(fetcher)
    assert run(download) < alone(1e5) * 1.2
    assert download.banned == {"http://liar"}


def test_a_single_source_below_the_lowest_rate_is_given_up() -> None:
    download = FakeDownload(servers(slow=500))
    with pytest.raises(ArtifactUnavailable, match="KiB a second"):
        run(download)
    # What it sent was not thrown away.
    assert run(FakeDownload(servers(fast=1e6), download.disk)) < alone(1e6)


def test_without_a_source_left_each_failure_is_named() -> None:
    fetcher = FakeFetcher(gone=FakeServer({}), busy=server_of(DATA, busy_every=1))
    download = FakeDownload(fetcher)
    with pytest.raises(ArtifactUnavailable, match=r"gone .*404.*; http://busy .*500"):
        run(download)
    assert [event.retryable for event in download.of(SourceFailed)] == [False, True, True, False]


def test_a_source_that_asks_for_a_pause_gets_it_and_causes_no_delay() -> None:
    download = FakeDownload(servers(busy=1e6, good=1e5))
    busy = download.fetcher.servers["http://busy"]
    busy.busy_until, busy.retry_after = 30.0, 100_000
    assert run(download) < alone(1e5) * 1.1
    assert len(busy.request_times) == 1


def test_a_single_source_is_retried_within_the_bound_of_its_pause() -> None:
    download = FakeDownload(servers(busy=1e6))
    busy = download.fetcher.servers["http://busy"]
    busy.busy_until, busy.retry_after = 30.0, 100_000
    assert run(download) < 60 + 2 * alone(1e6)
    assert busy.request_times[1] == pytest.approx(60)


def test_a_source_whose_connection_breaks_continues_there() -> None:
    download = FakeDownload(
        FakeFetcher(a=server_of(DATA, piece_seconds=0.001, vanish_after=400_000))
    )
    run(download)
    assert sum(length for _, _, length in download.fetcher.spans) < len(DATA) + FIRST_SPAN


def test_chunks_of_an_earlier_run_are_not_requested_again() -> None:
    first = FakeDownload(servers(a=1e5))
    with pytest.raises(TimeoutError):
        run_for(first, 10)
    again = FakeDownload(servers(a=1e5), first.disk)
    asked = run(again)
    assert asked < alone(1e5) - 9
    # Of what had arrived, only the chunk that was under way is lost.
    assert again.fetcher.spans[0][1] > 990_000


def run_for(download: FakeDownload, seconds: float) -> None:
    async def fetching() -> None:
        async with asyncio.timeout(seconds):
            await swarmed(download)

    virtual_time.run(fetching())


def test_progress_has_the_rate() -> None:
    download = FakeDownload(servers(a=1e5, b=1e5))
    run(download)
    progress = download.of(FetchProgress)
    assert len(progress) > 20
    assert sorted(event.done for event in progress) == [event.done for event in progress]
    assert progress[-1].rate == pytest.approx(200_000, rel=0.1)


def test_a_full_disk_ends_the_download_and_keeps_its_chunks() -> None:
    disk = MemoryDisk(capacity=len(DATA) - 1)
    download = FakeDownload(servers(a=1e6), disk)
    with pytest.raises(NoSpace):
        run(download)
    assert not disk.items(Folder.ENTRIES)


def test_a_disk_that_fills_up_during_the_download_loses_no_chunk() -> None:
    disk = MemoryDisk(capacity=len(DATA) * 2)
    disk.unreserving = True
    download = FakeDownload(servers(a=1e5), disk)

    async def filling() -> None:
        task = asyncio.create_task(swarmed(download))
        await asyncio.sleep(10)
        disk.capacity = 1_200_000
        await task

    with pytest.raises(NoSpace):
        virtual_time.run(filling())
    disk.capacity = len(DATA) * 2
    assert run(FakeDownload(servers(a=1e5), disk)) < alone(1e5) - 9


def test_two_downloads_at_once_both_succeed() -> None:
    disk = MemoryDisk()
    one, two = FakeDownload(servers(a=1e5), disk), FakeDownload(servers(b=2e5), disk)

    async def both() -> None:
        results = await asyncio.gather(swarmed(one), swarmed(two))
        assert [content(fetched) for fetched, _ in results] == [DATA, DATA]

    virtual_time.run(both())
    assert not disk.items(Folder.PARTIALS)
