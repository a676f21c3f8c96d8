"""CARs of byte ranges, in pieces: no byte that the DAG has not comes out of one."""

from __future__ import annotations

from phase_boot.content.car import BadCar
from phase_boot.content.car_walk import CarWalk
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.digest import Digest
from tests.fuzz.target import Target
from tests.support.entity_cars import EntityCars

CHUNK = 40
DATA = b"".join(bytes([number % 5]) * CHUNK for number in range(12))
FILE = EntityCars(
    DATA,
    ChunkList.of(
        (bytes.fromhex(Digest.of(DATA[at : at + CHUNK]).hex), CHUNK)
        for at in range(0, len(DATA), CHUNK)
    ),
)
FIRST, LAST = 80, 399


def one(data: bytes) -> None:
    """Feed it in pieces of a length that its first byte says."""
    piece, rest = 1 + (data[0] if data else 0), data[1:]
    walk, taken = CarWalk(FILE.root, len(DATA), FIRST, LAST + 1 - FIRST), b""
    try:
        for at in range(0, len(rest), piece):
            taken += walk.feed(rest[at : at + piece])
        taken += walk.finish()
    except BadCar:
        pass
    assert DATA[FIRST : LAST + 1].startswith(taken)
    if walk.complete:
        assert len(taken) in range(LAST + 2 - FIRST)


TARGET = Target(
    one=one,
    starts={
        "dups": b"\xff" + FILE.car(FIRST, LAST),
        "no-dups": b"\x07" + FILE.car(FIRST, LAST, dups=False),
        "cut": b"\x00" + FILE.car(FIRST, LAST)[:300],
        "other-range": b"\xff" + FILE.car(0, 99),
        "page": b"\xff<html>",
    },
    max_len=4096,
    words=(FILE.car(FIRST, LAST)[:59],),
)
