"""Messages of bitswap: those of another implementation, and what a hostile peer may send."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.content import varint
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_pb import MAX_BLOCK
from phase_boot.content.protobuf import bytes_field, number_field
from phase_boot.libp2p_node.bitswap_message import (
    MAX_FIELDS,
    MAX_MESSAGE,
    MAX_WANTS,
    BadMessage,
    MessageReader,
    Received,
    decode,
    encode_wants,
)
from tests.support.bitswap_messages import absent_field, block_field, reply, wants_in

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors/bitswap.json").read_text()
)
LEAF = b"hello world"
RAW, NODE = Cid.of(Codec.RAW, LEAF), Cid.of(Codec.DAG_PB, b"\x0a\x02\x08\x01")
NAMES = {"raw": Codec.RAW, "dag-pb": Codec.DAG_PB}


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_a_message_of_another_implementation_is_read(name: str) -> None:
    vector = VECTORS[name]
    received = decode(bytes.fromhex(vector["message"]))
    blocks = [(NAMES[codec], bytes.fromhex(block)) for codec, block in vector["blocks"]]
    assert list(received.blocks) == blocks
    assert [str(cid) for cid in received.absent] == vector["absent"]


def test_wants_and_cancellations_are_entries_of_one_want_list() -> None:
    (message,) = MessageReader().feed(encode_wants([RAW, NODE], [NODE]))
    assert wants_in(message) == ([RAW, NODE], [NODE])
    assert decode(message) == Received()


def test_a_message_has_a_bounded_number_of_wants() -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_WANTS} wants"):
        encode_wants([RAW] * (MAX_WANTS + 1))


def test_the_wants_of_a_peer_are_not_read() -> None:
    malformed = bytes_field(1, b"\xff" * 1000)
    assert decode(malformed + block_field(LEAF)).blocks == ((Codec.RAW, LEAF),)


BAD = {
    "number-for-block": number_field(3, 1),
    "number-for-note": number_field(4, 1),
    "number-for-prefix": bytes_field(3, number_field(1, 1)),
    "number-for-data": bytes_field(3, number_field(2, 1)),
    "number-for-cid": bytes_field(4, number_field(1, 1)),
    "cut-in-block": block_field(LEAF)[:-1],
    "length-beyond-the-message": b"\x1a\xff\xff\xff\xff\x07",
    "length-beyond-64-bits": b"\x1a" + b"\xff" * 10 + b"\x01",
    "group": b"\x1b\x1c",
    "fixed": b"\x1d\0\0\0\0",
    "negative-number": b"\x28" + b"\xff" * 9 + b"\x01",
    "large-block": bytes_field(3, bytes_field(2, bytes(MAX_BLOCK + 1))),
    "too-many-notes": absent_field(RAW) * (MAX_FIELDS + 1),
    "too-many-fields-in-a-block": bytes_field(3, number_field(9, 1) * (MAX_FIELDS + 1)),
    "too-long": bytes(MAX_MESSAGE + 1),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_malformed_message_is_refused(name: str) -> None:
    with pytest.raises(BadMessage):
        decode(BAD[name])


def test_a_block_of_the_largest_size_is_read() -> None:
    block = bytes(MAX_BLOCK)
    assert decode(block_field(block)).blocks == ((Codec.RAW, block),)


OTHER_FORMS = {
    "sha2-512": bytes_field(3, bytes_field(1, b"\x01\x55\x13\x40") + bytes_field(2, LEAF)),
    "dag-cbor": bytes_field(3, bytes_field(1, b"\x01\x71\x12\x20") + bytes_field(2, LEAF)),
    "truncated-digest": bytes_field(3, bytes_field(1, b"\x01\x55\x12\x10") + bytes_field(2, LEAF)),
    "no-prefix": bytes_field(3, bytes_field(2, LEAF)),
    "note-of-no-cid": bytes_field(4, bytes_field(1, b"x") + number_field(2, 1)),
    "note-of-another-hash": bytes_field(
        4, bytes_field(1, b"\x01\x55\x1e\x20" + bytes(32)) + number_field(2, 1)
    ),
    "present": bytes_field(4, bytes_field(1, bytes(RAW))),
}


@pytest.mark.parametrize("name", sorted(OTHER_FORMS))
def test_what_is_never_requested_is_skipped(name: str) -> None:
    assert decode(OTHER_FORMS[name]) == Received()


@given(
    st.lists(st.tuples(st.sampled_from(Codec), st.binary(max_size=300)), max_size=5),
    st.integers(1, 40),
)
def test_messages_round_trip_in_pieces_of_any_size(
    blocks: list[tuple[Codec, bytes]], step: int
) -> None:
    stream = b"".join(reply([block]) for block in blocks)
    reader, found = MessageReader(), []
    for at in range(0, len(stream), step):
        found += reader.feed(stream[at : at + step])
    assert reader.held == 0
    assert [decode(message).blocks for message in found] == [(block,) for block in blocks]


@pytest.mark.parametrize(
    "length",
    [
        varint.encode(MAX_MESSAGE + 1),
        varint.encode(1 << 40),
        b"\x80" * 4,
        b"\x80\x00",
    ],
)
def test_a_length_that_no_message_has_is_refused_before_the_message_comes(length: bytes) -> None:
    with pytest.raises(BadMessage):
        MessageReader().feed(length)


def test_a_message_is_held_until_it_is_whole_and_no_longer() -> None:
    reader = MessageReader()
    message = reply([(Codec.RAW, LEAF)])
    assert reader.feed(message[:-1]) == []
    assert reader.held == len(message) - 1
    assert len(reader.feed(message[-1:] + message[:1])) == 1
    assert reader.held == 1
