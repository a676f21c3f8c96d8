"""Messages of bitswap, as one message and as a stream of them."""

from __future__ import annotations

import json
from pathlib import Path

from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK
from phase_boot.libp2p_node.bitswap_message import (
    MAX_FIELDS,
    BadMessage,
    MessageReader,
    decode,
    encode_wants,
)
from tests.fuzz.target import Target

MAX_LEN = 8 * 1024
_VECTORS = Path(__file__).parents[1] / "vectors/bitswap.json"
_LEAF = Cid.of(Codec.RAW, b"leaf")


def one(data: bytes) -> None:
    _message(data)
    _stream(data)


def _message(data: bytes) -> None:
    try:
        received = decode(data)
    except BadMessage:
        return
    assert len(received.blocks) + len(received.absent) <= MAX_FIELDS
    assert sum(len(block) for _, block in received.blocks) <= min(len(data), MAX_BLOCK)
    assert all(Cid.from_bytes(bytes(cid)) == cid for cid in received.absent)


def _stream(data: bytes) -> None:
    """Cut a stream at the lengths in it: whatever its pieces, the messages are the same."""
    step = data[0] + 1 if data else 1
    assert _messages(data, step) == _messages(data, len(data) or 1)


def _messages(data: bytes, step: int) -> tuple[list[bytes], int] | None:
    reader, found = MessageReader(), list[bytes]()
    for at in range(0, len(data), step):
        try:
            found += reader.feed(data[at : at + step])
        except BadMessage:
            return None
        assert reader.held <= at + step
    for message in found:
        _message(message)
    return found, reader.held


TARGET = Target(
    one=one,
    starts={
        **{
            name: bytes.fromhex(vector["message"])
            for name, vector in json.loads(_VECTORS.read_text()).items()
        },
        "wants": encode_wants([_LEAF], [_LEAF]),
        "endless-length": b"\x80" * 12,
        "cut": b"\x1a\x40\x0a\x04\x01\x55\x12\x20\x12\x40leaf",
    },
    max_len=MAX_LEN,
    words=(b"\x0a\x04\x01\x55\x12\x20\x12", b"\x22\x28\x0a\x24\x01\x70\x12\x20", b"\x10\x01"),
)
