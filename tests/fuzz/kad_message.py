"""Answers of peers of the Kademlia DHT."""

from __future__ import annotations

from phase_boot.content.multiaddr import MAX_PARTS, Multiaddr
from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.kad_message import MAX_ADDRESSES, MAX_PEERS, decode_answer
from tests.fuzz.target import Target
from tests.support.kad_messages import binary_address, dht_answer, peer_entry

MAX_LEN = 8192
PEER = b"\x00\x24\x08\x01\x12\x20" + bytes(range(32))
RSA_PEER = b"\x12\x20" + bytes(range(32))
ADDRESS = binary_address("192.0.2.7", 4001)
QUIC = b"\x04\xc0\x00\x02\x07\x91\x02\x0f\xa1\xcd\x03"
HTTP = b"\x36\x0cnode.example\x06\x01\xbb\xc0\x03\xe0\x03"


def one(case: bytes) -> None:
    _judge(case)
    _judge(dht_answer(closer=[peer_entry(PEER, case)]))
    _judge(dht_answer(providers=[case]))


def _judge(message: bytes) -> None:
    try:
        answer = decode_answer(message)
    except ValueError:
        return
    assert answer.value is None or 0 < len(answer.value) <= len(message)
    for entries in (answer.closer, answer.providers):
        assert len(entries) <= MAX_PEERS
        for entry in entries:
            assert PeerId.parse(str(entry.peer)) == entry.peer
            assert len(set(entry.addresses)) == len(entry.addresses) <= MAX_ADDRESSES
            for address in entry.addresses:
                assert 0 < len(address.parts) <= MAX_PARTS
                assert Multiaddr.parse(str(address)) == address


TARGET = Target(
    one=one,
    starts={
        "record": dht_answer(b"a record"),
        "closer": dht_answer(closer=[peer_entry(PEER, ADDRESS, QUIC), peer_entry(RSA_PEER, HTTP)]),
        "providers": dht_answer(providers=[peer_entry(RSA_PEER, ADDRESS)]),
        "address": HTTP,
        "entry": peer_entry(PEER, ADDRESS),
    },
    max_len=MAX_LEN,
    words=(
        PEER,
        RSA_PEER,
        ADDRESS,
        QUIC,
        HTTP,
        b"\xa5\x03\x22",
        b"\x29",
        b"\x35",
        b"\x42",
        b"\x4a",
    ),
)
