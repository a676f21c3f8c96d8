"""CARs of byte ranges: what a walk accepts, and that it accepts nothing else."""

from __future__ import annotations

import random

import pytest

from phase_boot.content import car, varint
from phase_boot.content.car import BadCar
from phase_boot.content.car_walk import CarWalk
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK
from phase_boot.content.digest import Digest
from tests.support.downloads import chunked, data_of
from tests.support.entity_cars import EntityCars

DATA = data_of(120_000)
FILE = EntityCars(DATA, chunked(DATA))
SIZE = len(DATA)


def walked(
    whole: bytes, first: int, last: int, *, file: EntityCars = FILE, piece: int = 1000
) -> bytes:
    """Return what a walk takes from a CAR that arrives in pieces."""
    walk = CarWalk(file.root, len(file.data), first, last + 1 - first)
    data = b"".join(walk.feed(whole[at : at + piece]) for at in range(0, len(whole), piece))
    data += walk.finish()
    if not walk.complete:
        raise EOFError
    return data


@pytest.mark.parametrize("piece", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("first", "last"), [(0, SIZE - 1), (0, 0), (SIZE - 1, SIZE - 1), (700, 700), (50_001, 99_999)]
)
def test_a_range_is_returned_whatever_the_pieces(first: int, last: int, piece: int) -> None:
    assert walked(FILE.car(first, last), first, last, piece=piece) == DATA[first : last + 1]


def repeating() -> EntityCars:
    """Return a file of 40 chunks of which every other one is the same."""
    pieces = [bytes(500) if number % 2 else data_of(500, number) for number in range(40)]
    chunks = ChunkList.of((bytes.fromhex(Digest.of(each).hex), 500) for each in pieces)
    return EntityCars(b"".join(pieces), chunks)


@pytest.mark.parametrize("dups", [True, False], ids=["dups=y", "dups=n"])
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_a_block_that_occurs_again_may_be_left_out(piece: int, *, dups: bool) -> None:
    file = repeating()
    whole = file.car(500, 19_999, dups=dups)
    assert walked(whole, 500, 19_999, file=file, piece=piece) == file.data[500:]


def test_a_block_that_was_left_out_too_long_after_its_first_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phase_boot.content.car_walk.MAX_SEEN", 400)
    file = repeating()
    assert walked(file.car(0, 19_999), 0, 19_999, file=file) == file.data
    with pytest.raises(BadCar):
        walked(file.car(0, 19_999, dups=False), 0, 19_999, file=file)


def test_a_file_of_one_block_is_its_own_root() -> None:
    one = EntityCars(DATA[:900], ChunkList.of([(bytes.fromhex(Digest.of(DATA[:900]).hex), 900)]))
    assert one.root.codec is Codec.RAW
    assert walked(one.car(0, 899), 0, 899, file=one) == DATA[:900]


def test_each_changed_bit_of_a_car_is_refused() -> None:
    whole, chance = FILE.car(10_000, 29_999), random.Random(4)  # noqa: S311 - the same bits
    for _ in range(300):
        changed = bytearray(whole)
        changed[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        with pytest.raises((BadCar, EOFError)):
            walked(bytes(changed), 10_000, 29_999)


@pytest.mark.parametrize("cut", [0, 1, 30, 58, 59, 100, 5000])
def test_a_car_that_is_cut_is_not_complete(cut: int) -> None:
    with pytest.raises(EOFError):
        walked(FILE.car(10_000, 29_999)[:cut], 10_000, 29_999)


def test_a_car_without_its_last_block_is_not_complete() -> None:
    sections = FILE.sections(10_000, 29_999)[:-1]
    with pytest.raises(EOFError):
        walked(b"".join(car.write(FILE.root, sections)), 10_000, 29_999)


@pytest.mark.parametrize("place", [1, 5, -1])
def test_a_block_that_was_not_requested_is_refused_at_once(place: int) -> None:
    sections = FILE.sections(10_000, 29_999)
    other = b"another block"
    place = len(sections) if place < 0 else place
    sections.insert(place, (Cid.of(Codec.RAW, other), other))
    with pytest.raises(BadCar):
        walked(b"".join(car.write(FILE.root, sections)), 10_000, 29_999)


def test_two_blocks_in_another_order_are_refused() -> None:
    sections = FILE.sections(0, SIZE - 1)
    sections[-1], sections[-2] = sections[-2], sections[-1]
    with pytest.raises(BadCar):
        walked(b"".join(car.write(FILE.root, sections)), 0, SIZE - 1)


def test_the_car_of_another_root_is_refused_by_its_header() -> None:
    other = EntityCars(DATA[1:], chunked(DATA[1:]))
    with pytest.raises(BadCar, match="header"):
        walked(other.car(0, 999)[:59], 0, 999)


def test_a_page_is_refused_by_its_first_bytes() -> None:
    with pytest.raises(BadCar):
        walked(b"<html>", 0, 999)


def test_a_length_alone_fills_no_memory() -> None:
    walk = CarWalk(FILE.root, SIZE, 0, 1000)
    with pytest.raises(BadCar):
        walk.feed(car.header(FILE.root) + varint.encode(MAX_BLOCK + 1000))


def test_a_car_of_another_range_is_refused_or_incomplete() -> None:
    with pytest.raises((BadCar, EOFError)):
        walked(FILE.car(0, 999), 90_000, 90_999)
