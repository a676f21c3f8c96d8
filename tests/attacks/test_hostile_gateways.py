"""Gateways over real HTTP that refuse, lie, redirect, hang, cut and never end."""

from __future__ import annotations

import asyncio

import pytest

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.digest import Digest
from phase_boot.download import ArtifactUnavailable
from phase_boot.store.disk import Folder
from tests.support.artifacts import assert_every_entry_is_what_it_is_called
from tests.support.downloads import artifact_of, data_of
from tests.support.entity_cars import EntityCars
from tests.support.gateways import GatewayDownload
from tests.support.hostile_gateways import (
    Answer,
    HostileGateway,
    cut,
    elsewhere,
    endless,
    extra,
    gateway_timeout,
    not_acceptable,
    other_root,
    page,
    without_duplicates,
)

SIZE = 16_384
PIECES = [bytes(SIZE) if number % 4 == 3 else data_of(SIZE, number) for number in range(80)]
FILE = EntityCars(
    b"".join(PIECES),
    ChunkList.of((bytes.fromhex(Digest.of(each).hex), SIZE) for each in PIECES),
)
ARTIFACT = artifact_of(FILE.data)
SECONDS = 30
"""Bound of a download, which is not judged by its duration."""
HOSTILE = [page, elsewhere, gateway_timeout, not_acceptable, cut, extra, endless, other_root]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: answer.__name__)
async def test_a_hostile_gateway_delivers_no_wrong_byte_and_stops_no_other(answer: Answer) -> None:
    async with (
        HostileGateway(FILE, answer).running() as hostile,
        HostileGateway(FILE, without_duplicates).running() as good,
        asyncio.timeout(SECONDS),
    ):
        download = GatewayDownload(hostile.url, others=(good.url,))
        assert await download.fetch(ARTIFACT, FILE.root) == FILE.data
    assert_every_entry_is_what_it_is_called(download.disk)
    # Each refused format is asked for a few times at most, and the file once.
    assert hostile.requests["file"] <= 3


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: answer.__name__)
async def test_a_hostile_gateway_alone_leaves_nothing_in_the_store(answer: Answer) -> None:
    async with HostileGateway(FILE, answer).running() as hostile, asyncio.timeout(SECONDS):
        download = GatewayDownload(hostile.url)
        try:
            assert await download.fetch(ARTIFACT, FILE.root) == FILE.data
        except ArtifactUnavailable:
            assert not download.disk.items(Folder.ENTRIES)
    assert hostile.requests.total() < 150


async def test_a_car_without_duplicates_is_read_over_http() -> None:
    async with HostileGateway(FILE, without_duplicates).running() as gate:
        download = GatewayDownload(gate.url)
        assert await download.fetch(ARTIFACT, FILE.root) == FILE.data
    assert gate.requests["file"] == 1
    assert not [event for event in download.events if type(event).__name__ == "SourceFailed"]
