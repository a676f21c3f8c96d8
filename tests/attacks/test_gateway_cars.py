"""Attacks by a gateway that sends CARs: cut, with other blocks, of another root, without an end.

None of them yields a wrong byte. What cannot be verified ends the use of CARs of this gateway; what
was verified before stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from phase_boot.content import car
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.digest import Digest
from phase_boot.download import ArtifactUnavailable, fetch_artifact
from phase_boot.download.block_client import block_path
from phase_boot.download.gateway_formats import Format
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.journal.content_events import SourceFailed
from phase_boot.store.disk import Folder
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.downloads import FakeDownload, artifact_of, chunked, data_of, gateway_of
from tests.support.entity_cars import CarFiles, EntityCars

DATA = data_of(1_000_000)
FILE = EntityCars(DATA, chunked(DATA))
OTHER = EntityCars(DATA[::-1], chunked(DATA[::-1]))
GATE = "http://gate"

Twist = Callable[[bytes], bytes]


def car_gateway(tamper: Twist = lambda data: data, **settings: object) -> FakeServer:
    """Return a gateway that changes its CARs, and sends no chunk in another way."""
    quick = frozenset(block_path(cid) for cid in FILE.blocks)
    server = FakeServer(CarFiles(FILE), piece_seconds=0.001, quick=quick, **settings)  # type: ignore[arg-type]
    server.tamper = lambda path, data: tamper(data) if "format=car" in path else data
    return server


def obtained(download: FakeDownload, file: EntityCars = FILE) -> Format | None:
    """Download from all servers as gateways; return the format that the first one sent."""
    context = download.context()
    sources = download.sources(mirrors=(), gateways=tuple(download.fetcher.servers))

    async def obtaining() -> None:
        try:
            artifact = artifact_of(file.data)
            fetched, _ = await fetch_artifact(context, sources, artifact, file.root)
            assert content(fetched) == file.data
        finally:
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    try:
        virtual_time.run(obtaining())
    finally:
        assert_every_entry_is_what_it_is_called(download.disk)
    return context.formats.of(GATE)


def cars_of(server: FakeServer) -> int:
    return sum(count for path, count in server.requests.items() if "format=car" in path)


def test_a_gateway_without_files_sends_cars() -> None:
    gate = car_gateway()
    download = FakeDownload(FakeFetcher(gate=gate))
    assert obtained(download) is Format.CAR
    assert not download.of(SourceFailed)
    assert gate.requests[f"ipfs/{FILE.root}"] == 1
    assert not [path for path in gate.requests if path not in gate.files and "format" in path]


def test_a_gateway_that_leaves_repeated_blocks_out_is_understood() -> None:
    pieces = [bytes(900) if number % 3 else data_of(900, number) for number in range(300)]
    chunks = ChunkList.of((bytes.fromhex(Digest.of(each).hex), 900) for each in pieces)
    file = EntityCars(b"".join(pieces), chunks)
    download = FakeDownload(FakeFetcher(gate=FakeServer(CarFiles(file, dups=False))))
    assert obtained(download, file) is Format.CAR


def with_block(whole: bytes, place: int) -> bytes:
    blocks = list(car.blocks(whole, limit=1 << 24))
    extra = b"a block that was not requested"
    blocks.insert(place, (Cid.of(Codec.RAW, extra), extra))
    return b"".join(car.write(FILE.root, blocks))


LIES = [
    pytest.param(lambda whole: with_block(whole, 3), id="a block among the others"),
    pytest.param(lambda whole: with_block(whole, 1 << 20), id="a block after the last"),
    pytest.param(lambda _: OTHER.car(0, 99_999), id="another root"),
    pytest.param(lambda whole: whole[:70] + b"?" + whole[71:], id="a wrong node"),
    pytest.param(lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]), id="a wrong leaf"),
    pytest.param(lambda whole: b"<html>" * (len(whole) // 6), id="a page"),
    pytest.param(lambda whole: whole + bytes(1 << 24), id="an endless body"),
    pytest.param(lambda _: b"\xff" * 4096, id="no varint"),
    pytest.param(lambda _: b"", id="nothing"),
]


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_car_is_never_taken_and_others_deliver(lie: Twist) -> None:
    gate = car_gateway(lie)
    good = gateway_of(DATA, FILE.chunks, piece_seconds=0.01)
    download = FakeDownload(FakeFetcher(gate=gate, good=good))
    obtained(download)
    # It is not asked again and again.
    assert cars_of(gate) <= 4


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_car_of_a_single_gateway_leaves_nothing_in_the_store(lie: Twist) -> None:
    download = FakeDownload(FakeFetcher(gate=car_gateway(lie)))
    with pytest.raises(ArtifactUnavailable):
        obtained(download)
    assert not download.disk.items(Folder.ENTRIES)


def test_after_cars_that_cannot_be_verified_blocks_are_requested() -> None:
    gate = gateway_of(DATA, FILE.chunks, piece_seconds=0.001)
    blocks, gate.files = gate.files, CarFiles(FILE)
    gate.files.update(blocks)
    gate.tamper = lambda path, data: with_block(data, 3) if "format=car" in path else data
    download = FakeDownload(FakeFetcher(gate=gate))
    assert obtained(download) is Format.RAW
    assert not download.banned
    assert cars_of(gate) == 1


def test_cars_that_are_cut_are_continued_from_the_last_chunk() -> None:
    cuts = iter([30_000, 5_000, 100_000, 60_000])
    gate = car_gateway(lambda whole: whole[: next(cuts, len(whole))])
    download = FakeDownload(FakeFetcher(gate=gate))
    assert obtained(download) is Format.CAR
    asked = [url for url, _, _ in download.fetcher.spans if "entity-bytes" in url]
    assert len(asked) > 4
    assert not download.banned


def test_a_gateway_that_cuts_each_car_at_its_begin_is_given_up() -> None:
    gate = car_gateway(lambda whole: whole[:2000])
    download = FakeDownload(FakeFetcher(gate=gate))
    with pytest.raises(ArtifactUnavailable):
        obtained(download)
    assert cars_of(gate) < 20
