"""Messages of bitswap as a peer writes and reads them, that this machine only receives or sends."""

from __future__ import annotations

from collections.abc import Iterable

from phase_boot.content.cid import Cid, Codec
from phase_boot.content.protobuf import bytes_field, fields, number_field
from phase_boot.libp2p_node.bitswap_message import with_length


def block_field(block: bytes, codec: Codec = Codec.RAW) -> bytes:
    """Return the field that carries a block."""
    prefix = bytes(Cid.of(codec, block))[:4]
    return bytes_field(3, bytes_field(1, prefix) + bytes_field(2, block))


def absent_field(cid: Cid) -> bytes:
    """Return the field that says the peer lacks a block."""
    return bytes_field(4, bytes_field(1, bytes(cid)) + number_field(2, 1))


def reply(blocks: Iterable[tuple[Codec, bytes]] = (), absent: Iterable[Cid] = ()) -> bytes:
    """Return a message behind its length."""
    parts = [*(block_field(block, codec) for codec, block in blocks), *map(absent_field, absent)]
    return with_length(b"".join(parts))


def wants_in(message: bytes) -> tuple[list[Cid], list[Cid]]:
    """Return the CIDs that a message, without its length, wants, and those that it cancels."""
    wanted, cancelled = list[Cid](), list[Cid]()
    for number, want_list in fields(message):
        assert number == 1
        assert isinstance(want_list, bytes)
        for _, entry in fields(want_list):
            assert isinstance(entry, bytes)
            of_entry = dict(fields(entry))
            cid = of_entry[1]
            assert isinstance(cid, bytes)
            (cancelled if of_entry.get(3) else wanted).append(Cid.from_bytes(cid))
    return wanted, cancelled
