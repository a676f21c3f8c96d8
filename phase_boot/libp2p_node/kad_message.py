"""Messages of the Kademlia DHT (libp2p specification "kad-dht", section "RPC messages").

The requests of a client and the answers to them, which any peer may have written: bounded, and
peers or addresses that are of no use here are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, unique
from itertools import islice
from typing import Final

from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.peer_id import PeerId
from phase_boot.content.protobuf import bytes_field, fields, number_field

MAX_MESSAGE: Final = 256 * 1024
"""Bytes of the longest answer: a record of 10 KiB and some tens of peers."""
MAX_PEERS: Final = 20
"""Peers of one list that are read: k of Kademlia."""
MAX_ADDRESSES: Final = 16
"""Usable addresses of one peer that are read."""
MAX_ENTRIES: Final = 64
"""Addresses of one peer that are looked at."""

_TYPE, _KEY, _RECORD, _CLOSER, _PROVIDERS = 1, 2, 3, 8, 9
_RECORD_VALUE = 2
_PEER_ID, _PEER_ADDRESS = 1, 2


@unique
class MessageType(IntEnum):
    """The requests that a client sends."""

    GET_VALUE = 1
    GET_PROVIDERS = 3
    FIND_NODE = 4


@dataclass(frozen=True, slots=True)
class PeerEntry:
    """A peer with the addresses that another one names for it."""

    peer: PeerId
    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class DhtAnswer:
    """What a peer answers."""

    value: bytes | None = None
    """The value of the record that it has."""
    closer: tuple[PeerEntry, ...] = ()
    """Peers that are closer to the key."""
    providers: tuple[PeerEntry, ...] = ()


def encode_request(kind: MessageType, key: bytes) -> bytes:
    """Return the message that asks for ``key``."""
    return number_field(_TYPE, kind) + bytes_field(_KEY, key)


def decode_answer(message: bytes) -> DhtAnswer:
    """Return what an answer says; raise ValueError if it is no message."""
    value, closer, providers = None, list[bytes](), list[bytes]()
    for number, content in fields(message):
        if not isinstance(content, bytes):
            continue
        if number == _RECORD:
            value = _value(content)
        elif number == _CLOSER:
            closer.append(content)
        elif number == _PROVIDERS:
            providers.append(content)
    return DhtAnswer(value=value, closer=_entries(closer), providers=_entries(providers))


def _value(record: bytes) -> bytes | None:
    """Return the value of a record; None if it is empty."""
    value = None
    for number, content in fields(record):
        if number == _RECORD_VALUE and isinstance(content, bytes):
            value = content
    return value or None


def _entries(raw: list[bytes]) -> tuple[PeerEntry, ...]:
    return tuple(entry for each in raw[:MAX_PEERS] if (entry := _entry(each)) is not None)


def _entry(raw: bytes) -> PeerEntry | None:
    """Return a peer of a list, or None if it has no id that is used."""
    identity, addresses = b"", list[bytes]()
    for number, content in fields(raw):
        if number == _PEER_ID and isinstance(content, bytes):
            identity = content
        elif number == _PEER_ADDRESS and isinstance(content, bytes):
            addresses.append(content)
    try:
        peer = PeerId(identity)
    except ValueError:
        return None
    usable = _usable(addresses[:MAX_ENTRIES])
    return PeerEntry(peer, tuple(dict.fromkeys(islice(usable, MAX_ADDRESSES))))


def _usable(addresses: list[bytes]) -> Iterator[Multiaddr]:
    for raw in addresses:
        try:
            yield Multiaddr.from_bytes(raw)
        except ValueError:
            # Most peers have addresses of other transports too.
            continue
