"""Downloads of several artifacts at once."""

from __future__ import annotations

import asyncio

import pytest

from phase_boot.content.artifact import Artifact
from phase_boot.download import ArtifactUnavailable, fill_store
from phase_boot.download.several import AT_ONCE
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.store.disk import Folder
from phase_boot.store.layout import entry_path
from tests.support.artifacts import assert_every_entry_is_what_it_is_called
from tests.support.downloads import CountingFetcher, FakeDownload, artifact_of, data_of

FILES = {f"file-{number}": data_of(20_000, number) for number in range(6)}
WANTED = {name: artifact_of(data, name) for name, data in FILES.items()}
SECONDS_EACH = 0.2


def mirror(*lacking: str) -> FakeServer:
    """Return a server without the artifacts ``lacking``, of which each takes `SECONDS_EACH`."""
    kept = {name: data for name, data in FILES.items() if name not in lacking}
    files = {entry_path(WANTED[name].digest): data for name, data in kept.items()}
    return FakeServer(files, piece_seconds=SECONDS_EACH / 20)


def filled(download: FakeDownload) -> float:
    """Download all files; return the virtual seconds."""

    async def filling() -> float:
        context = download.context()
        began = context.clock.monotonic()
        wanted: dict[Artifact, None] = dict.fromkeys(WANTED.values())
        try:
            await fill_store(context, download.sources(), wanted)
        finally:
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        return context.clock.monotonic() - began

    try:
        return virtual_time.run(filling())
    finally:
        assert_every_entry_is_what_it_is_called(download.disk)


def entries(download: FakeDownload) -> set[str]:
    return {item.name for item in download.disk.items(Folder.ENTRIES)}


def test_some_artifacts_come_at_once_and_no_more() -> None:
    download = FakeDownload(CountingFetcher(mirror=mirror()))
    seconds = filled(download)
    assert entries(download) == {artifact.digest.hex for artifact in WANTED.values()}
    rounds = len(FILES) / AT_ONCE
    assert rounds * SECONDS_EACH <= seconds < (rounds + 1) * SECONDS_EACH


def test_one_artifact_that_no_source_has_stops_the_others() -> None:
    download = FakeDownload(FakeFetcher(mirror=mirror("file-2")))
    with pytest.raises(ArtifactUnavailable, match="file-2"):
        filled(download)
    assert len(entries(download)) < len(FILES)


def test_what_came_before_a_failure_is_not_downloaded_again() -> None:
    download = FakeDownload(FakeFetcher(mirror=mirror("file-5")))
    with pytest.raises(ArtifactUnavailable, match="file-5"):
        filled(download)
    stored = entries(download)
    assert stored
    again = FakeDownload(FakeFetcher(mirror=mirror()), download.disk)
    filled(again)
    asked = again.fetcher.servers["http://mirror"].requests
    assert not {
        entry_path(each.digest) for each in WANTED.values() if each.digest.hex in stored
    } & set(asked)
