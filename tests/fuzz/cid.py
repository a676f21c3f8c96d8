"""CIDs, as text and as bytes."""

from __future__ import annotations

import base64

from phase_boot.content.cid import Cid, Codec
from tests.fuzz.target import Target


def one(data: bytes) -> None:
    _text(data.decode("latin-1"))
    _text("b" + base64.b32encode(data).decode().rstrip("=").lower())
    _bytes(data)


def _text(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except ValueError:
        return
    assert str(cid) == text
    assert Cid.from_bytes(bytes(cid)) == cid


def _bytes(data: bytes) -> None:
    try:
        cid = Cid.from_bytes(data)
    except ValueError:
        return
    assert bytes(cid) == data
    assert Cid.parse(str(cid)) == cid


_LEAF, _NODE = Cid.of(Codec.RAW, b"hello world"), Cid.of(Codec.DAG_PB, b"")

TARGET = Target(
    one=one,
    starts={
        "text": str(_LEAF).encode(),
        "node": str(_NODE).encode(),
        "upper": str(_LEAF).upper().encode(),
        "bytes": bytes(_LEAF),
        "node-bytes": bytes(_NODE),
        "version-0": b"QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
    },
    max_len=128,
    words=(b"bafkrei", b"bafybei", b"\x01\x55\x12\x20", b"\x01\x70\x12\x20", b"\x01\x71\x12\x20"),
)
