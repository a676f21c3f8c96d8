"""Downloads of one artifact: by its chunks, from stored versions, and whole as the fallback."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.download import ArtifactUnavailable, fetch_artifact
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.journal.content_events import (
    ChunkListUnavailable,
    FetchDone,
    SourceFailed,
    SourceServed,
)
from phase_boot.store.disk import Folder
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.dags import car_of
from tests.support.downloads import FakeDownload, artifact_of, chunked, data_of, server_of

DATA = data_of(400_000)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(chunked(DATA))
CAR = f"dag/{TREE.root}.car"


def mirror(**settings: Any) -> FakeServer:
    """Return a mirror with the artifact and its chunk list."""
    server = server_of(DATA, **settings)
    server.files[CAR] = car_of(TREE)
    return server


def obtained(download: FakeDownload, root: Cid = TREE.root) -> str:
    """Download the artifact by its chunks; return the main source."""

    async def obtaining() -> str:
        fetched, source = await fetch_artifact(
            download.context(), download.sources(), ARTIFACT, root
        )
        assert content(fetched) == DATA
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return source

    source = virtual_time.run(obtaining())
    assert_every_entry_is_what_it_is_called(download.disk)
    assert not download.disk.items(Folder.PARTIALS)
    return source


def test_chunks_come_from_all_sources_that_have_the_artifact() -> None:
    fetcher = FakeFetcher(a=mirror(), b=server_of(DATA))
    download = FakeDownload(fetcher)
    obtained(download)
    assert all(server.requests.total() > 1 for server in fetcher.servers.values())
    assert not fetcher.offsets
    assert [event.size for event in download.of(FetchDone)] == [len(DATA)]


def test_a_stored_artifact_is_not_requested() -> None:
    download = FakeDownload(FakeFetcher(a=mirror()))
    obtained(download)
    again = FakeDownload(FakeFetcher(), download.disk)
    assert obtained(again) == "store"


def test_the_chunk_list_comes_from_the_first_source_whose_list_is_valid() -> None:
    liar = mirror()
    liar.files[CAR] = bytes(len(liar.files[CAR]))
    fetcher = FakeFetcher(gone=server_of(DATA), liar=liar, short=mirror(), good=mirror())
    fetcher.servers["http://short"].files[CAR] = car_of(TREE)[:2000]
    download = FakeDownload(fetcher)
    assert obtained(download) != "http://liar"
    assert download.banned == {"http://liar"}
    assert not download.of(ChunkListUnavailable)
    assert liar.requests.keys() == {CAR}


@pytest.mark.parametrize(
    "damage",
    [
        lambda car: car[: len(car) // 2],
        lambda car: car[:300] + bytes([car[300] ^ 1]) + car[301:],
        lambda _: b"",
        lambda car: car[100:] + car[:100],
    ],
    ids=["half", "one bit", "empty", "another order"],
)
def test_without_a_valid_chunk_list_the_whole_file_is_downloaded(damage: Any) -> None:
    bad, other = mirror(), server_of(DATA)
    bad.files[CAR] = damage(bad.files[CAR])
    download = FakeDownload(FakeFetcher(bad=bad, other=other))
    obtained(download)
    (unknown,) = download.of(ChunkListUnavailable)
    assert unknown.artifact == ARTIFACT.name
    assert [event.source for event in download.of(SourceFailed)] == ["http://bad", "http://other"]


def test_a_signed_dag_of_other_bytes_is_dropped_for_the_whole_file() -> None:
    other = data_of(len(DATA), seed=2)
    tree = build_dag(chunked(other))
    server = mirror()
    server.files[f"dag/{tree.root}.car"] = car_of(tree)
    # The chunks that this DAG names do not match the bytes of the mirror.
    download = FakeDownload(FakeFetcher(a=server))
    with pytest.raises(ArtifactUnavailable):
        obtained(download, tree.root)
    assert not download.disk.items(Folder.ENTRIES)


def test_an_invalid_dag_is_reported_and_the_whole_file_requested() -> None:
    server = mirror()
    download = FakeDownload(FakeFetcher(a=server))
    wrong = Cid.of(Codec.DAG_PB, b"no node at all")
    server.files[f"dag/{wrong}.car"] = b"x" * 5000
    with pytest.raises(ArtifactUnavailable):
        obtained(download, wrong)
    assert download.of(ChunkListUnavailable)


def test_a_source_without_ranges_sends_the_whole_file() -> None:
    fetcher = FakeFetcher(whole=mirror(whole_only=True), gone=FakeServer({CAR: car_of(TREE)}))
    download = FakeDownload(fetcher)
    assert obtained(download) == "http://whole"
    assert fetcher.offsets[0][1] == 0


def test_a_stopped_download_is_continued() -> None:
    download = FakeDownload(FakeFetcher(a=mirror()))

    async def stopped() -> None:
        async with asyncio.timeout(2.5):
            await fetch_artifact(download.context(), download.sources(), ARTIFACT, TREE.root)

    with pytest.raises(TimeoutError):
        virtual_time.run(stopped())
    assert not download.disk.items(Folder.ENTRIES)
    before = len(download.fetcher.spans)
    obtained(download)
    asked = sum(n for url, _, n in download.fetcher.spans[before:] if "/cas/" in url)
    assert asked < len(DATA) * 0.6


CHANGED = DATA[:150_000] + b"what is new" * 50 + DATA[150_300:]


def updated(download: FakeDownload, *, rot: bool = False) -> int:
    """Download a new version beside a stored one; return the bytes that were requested."""
    obtained(download)
    old = download.disk
    assert isinstance(old, MemoryDisk)
    (index,) = old.items(Folder.INDEXES)
    assert index.name == f"{ARTIFACT.digest.hex}.{TREE.root}"
    if rot:
        old.add_file(Folder.ENTRIES, ARTIFACT.digest.hex, DATA[:9000] + b"rot" + DATA[9003:])
    new, tree = artifact_of(CHANGED), build_dag(chunked_alike(CHANGED))
    server = server_of(CHANGED)
    server.files[f"dag/{tree.root}.car"] = car_of(tree)
    again = FakeDownload(FakeFetcher(b=server), old)

    async def obtaining() -> None:
        fetched, _ = await fetch_artifact(again.context(), again.sources(), new, tree.root)
        assert content(fetched) == CHANGED

    virtual_time.run(obtaining())
    assert len(old.items(Folder.INDEXES)) == 2
    (shared,) = again.of(SourceServed)
    assert shared.source == "store"
    assert shared.bytes > len(CHANGED) * 0.9
    return sum(length for url, _, length in again.fetcher.spans if "/cas/" in url)


def chunked_alike(data: bytes) -> ChunkList:
    """Cut a changed version at the old boundaries, except for the change."""
    before, after = chunked(DATA), ChunkList()
    for chunk in before:
        piece = DATA[chunk.offset : chunk.offset + chunk.size]
        if chunk.offset + chunk.size <= 150_000:
            after.append(chunk.digest, chunk.size)
        elif chunk.offset >= 150_300:
            start = chunk.offset + len(data) - len(DATA)
            if after.size < start:
                new = data[after.size : start]
                after.append(bytes.fromhex(Digest.of(new).hex), len(new))
            after.append(bytes.fromhex(Digest.of(piece).hex), len(piece))
    assert after.size == len(data)
    return after


def test_a_new_version_reuses_the_chunks_of_a_stored_one() -> None:
    assert updated(FakeDownload(FakeFetcher(a=mirror()))) < 6000


def test_chunks_are_reused_even_if_no_node_of_the_dag_is_shared() -> None:
    download, chunks = FakeDownload(FakeFetcher(a=mirror())), chunked(DATA)
    obtained(download)
    changed = bytearray(DATA)
    for number in range(0, chunks.count, 4):
        changed[chunks.chunk(number).offset] ^= 1
    new = bytes(changed)
    artifact, tree = artifact_of(new), build_dag(chunked(new))
    assert not {cid for cid, _ in tree.nodes} & {cid for cid, _ in TREE.nodes}
    server = server_of(new)
    server.files[f"dag/{tree.root}.car"] = car_of(tree)
    again = FakeDownload(FakeFetcher(b=server), download.disk)

    async def obtaining() -> None:
        fetched, _ = await fetch_artifact(again.context(), again.sources(), artifact, tree.root)
        assert content(fetched) == new

    virtual_time.run(obtaining())
    (stored, *_) = again.of(SourceServed)
    assert (stored.source, stored.bytes > len(DATA) // 2) == ("store", True)
    assert_every_entry_is_what_it_is_called(download.disk)


def test_a_damaged_chunk_of_a_stored_version_is_downloaded() -> None:
    assert 0 < updated(FakeDownload(FakeFetcher(a=mirror())), rot=True) < 12_000


def test_a_full_store_is_reported_and_leaves_no_file_open() -> None:
    disk = MemoryDisk(capacity=1000)
    with pytest.raises(Exception, match="no room"):
        obtained(FakeDownload(FakeFetcher(a=mirror()), disk))


@pytest.mark.parametrize("way", ["by chunks", "as a whole", "from the store"])
def test_an_artifact_that_cannot_be_reported_is_closed(way: str) -> None:
    download = FakeDownload(FakeFetcher(a=mirror()))
    if way == "from the store":
        obtained(download)
    opened: list[int] = []
    open_of = download.disk.open

    def opening(folder: Folder, name: str) -> int:
        opened.append(open_of(folder, name))
        return opened[-1]

    def refuse(event: object) -> None:
        if isinstance(event, FetchDone):
            raise OSError("no room for the journal")

    download.disk.open = opening  # type: ignore[method-assign]
    root = TREE.root if way == "by chunks" else None

    async def obtaining() -> None:
        await fetch_artifact(download.context(emit=refuse), download.sources(), ARTIFACT, root)

    with pytest.raises(OSError, match="journal") as caught:
        virtual_time.run(obtaining())
    # The traceback still holds the frames, so nothing was closed for want of a name.
    assert caught.tb is not None
    assert opened
    for fd in opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
