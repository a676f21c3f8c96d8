"""Answers of DHT peers, written as a peer writes them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from phase_boot.content.protobuf import bytes_field, number_field


def binary_address(host: str, port: int) -> bytes:
    """Return an IPv4 address with a TCP port in its binary form."""
    return b"\x04" + IPv4Address(host).packed + b"\x06" + port.to_bytes(2)


def peer_entry(multihash: bytes, *addresses: bytes) -> bytes:
    """Return a peer of a list."""
    entry = bytes_field(1, multihash) + b"".join(bytes_field(2, each) for each in addresses)
    return entry + number_field(3, 1)


def dht_answer(
    value: bytes | None = None, closer: Iterable[bytes] = (), providers: Iterable[bytes] = ()
) -> bytes:
    """Return the answer of a peer."""
    record = (
        b"" if value is None else bytes_field(3, bytes_field(1, b"key") + bytes_field(2, value))
    )
    peers = b"".join(bytes_field(8, each) for each in closer)
    more = b"".join(bytes_field(9, each) for each in providers)
    return number_field(1, 1) + bytes_field(2, b"key") + record + peers + more
