"""Answers of DHT peers: what is read of them, and within which bounds."""

from __future__ import annotations

import pytest

from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.kad_message import (
    MAX_ADDRESSES,
    MAX_PEERS,
    MessageType,
    decode_answer,
    encode_request,
)
from tests.support.kad_messages import binary_address, dht_answer, peer_entry

ID = b"\x12\x20" + bytes(32)
ADDRESS = binary_address("192.0.2.7", 4001)
QUIC = b"\x04\xc0\x00\x02\x07\x91\x02\x0f\xa1\xcd\x03"


def test_a_request_names_what_is_asked_and_its_key() -> None:
    assert encode_request(MessageType.GET_VALUE, b"key") == b"\x08\x01\x12\x03key"


def test_an_answer_is_read() -> None:
    answer = decode_answer(dht_answer(b"value", [peer_entry(ID, ADDRESS)], [peer_entry(ID)]))
    assert answer.value == b"value"
    (closer,), (provider,) = answer.closer, answer.providers
    assert (closer.peer, [str(each) for each in closer.addresses]) == (
        PeerId(ID),
        ["/ip4/192.0.2.7/tcp/4001"],
    )
    assert provider.addresses == ()


def test_addresses_that_cannot_be_dialled_and_peers_without_an_id_are_left_out() -> None:
    entries = [peer_entry(b"", ADDRESS), peer_entry(ID, QUIC, b"", ADDRESS, ADDRESS)]
    (entry,) = decode_answer(dht_answer(closer=entries)).closer
    assert [str(each) for each in entry.addresses] == ["/ip4/192.0.2.7/tcp/4001"]


def test_more_peers_and_addresses_than_allowed_are_left_out() -> None:
    addresses = [binary_address("192.0.2.7", port) for port in range(1, 200)]
    peers = [peer_entry(b"\x12\x20" + bytes([n]) * 32, *addresses) for n in range(200)]
    answer = decode_answer(dht_answer(closer=peers, providers=peers))
    assert len(answer.closer) == len(answer.providers) == MAX_PEERS
    assert {len(each.addresses) for each in answer.closer} == {MAX_ADDRESSES}


def test_an_empty_record_is_none() -> None:
    assert decode_answer(dht_answer(b"")).value is None


@pytest.mark.parametrize("message", [b"\xff", b"\x1a\x05abc", b"\x0d1234", b"\x1a\x01\x0d"])
def test_an_answer_that_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_answer(message)
