"""CAR files, whole and in pieces. Hashes are out of a fuzzer's reach, so blocks get theirs here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from phase_boot.content import car
from phase_boot.content.car import BadCar
from phase_boot.content.cid import Cid, Codec
from tests.fuzz.target import Target

MAX_LEN = 8 * 1024
_ROOT = Cid.of(Codec.RAW, b"root")
_VECTORS = Path(__file__).parents[1] / "vectors/ipld"


def one(data: bytes) -> None:
    _whole(data)
    _pieces(data)
    _spliced(data)


def _whole(data: bytes) -> None:
    """Read it as it is."""
    found = []
    try:
        for cid, block in car.blocks(data, limit=MAX_LEN):
            assert Cid.of(cid.codec, block) == cid
            found.append((cid, block))
    except BadCar:
        return
    reader = car.CarReader(limit=MAX_LEN)
    reader.feed(data)
    assert reader.next_block() == (found[0] if found else None)
    assert reader.root is not None
    assert b"".join(car.write(reader.root, found)) == data


def _pieces(data: bytes) -> None:
    """Cut it into blocks and send those: they come out as they went in, whatever the pieces."""
    if not data:
        return
    step, content = data[0] + 1, data[1:]
    blocks = [content[at : at + step] for at in range(0, len(content), step)]
    named = [(Cid.of(tuple(Codec)[len(block) % 2], block), block) for block in blocks[:16]]
    raw = b"".join(car.write(_ROOT, named))
    assert list(_taken(raw, step)) == named


def _taken(raw: bytes, step: int) -> Iterator[tuple[Cid, bytes]]:
    reader = car.CarReader(limit=len(raw))
    for at in range(0, len(raw), step):
        reader.feed(raw[at : at + step])
        while (block := reader.next_block()) is not None:
            yield block
    reader.finish()


def _spliced(data: bytes) -> None:
    """Put it behind a good beginning: the good block is seen, and nothing that was not checked."""
    good = (Cid.of(Codec.RAW, b"good"), b"good")
    seen = []
    try:
        for block in car.blocks(b"".join(car.write(_ROOT, [good])) + data, limit=2 * MAX_LEN):
            seen.append(block)
            assert Cid.of(block[0].codec, block[1]) == block[0]
    except BadCar:
        pass
    assert seen[0] == good


TARGET = Target(
    one=one,
    starts={
        **{file.stem: file.read_bytes() for file in sorted(_VECTORS.glob("*.car"))},
        "no-block": b"".join(car.write(_ROOT, [])),
        "version-2": b"\x0a\xa1\x67version\x02",
        "section": b"\x28" + bytes(Cid.of(Codec.RAW, b"leaf")) + b"leaf",
        "endless-length": b"\x80" * 12,
    },
    max_len=MAX_LEN,
    words=(
        b"\x3a\xa2\x65roots\x81\xd8\x2a\x58\x25\x00",
        b"\x67version\x01",
        b"\x01\x55\x12\x20",
        b"\x01\x70\x12\x20",
    ),
)
