"""Parses mDNS messages with zeroconf's parser, and encodes queries.

Records before the first malformed one count. zeroconf's browser and resolver are not used: they
raise on names that RFC 6763 forbids, ignore the sender of a record, and let one sender's flood,
goodbye or cache flush remove records of another.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from zeroconf import (  # type: ignore[attr-defined] # its __all__ has only the high level
    DNSAddress,
    DNSIncoming,
    DNSPointer,
    DNSRecord,
    DNSService,
    DNSText,
)

from phase_boot.adapters.finders.mdns_cache import Address, Pointer, Record, Server, Text
from phase_boot.ports.finder import SERVICE

MAX_PACKET: Final = 9000
"""Bytes; RFC 6762, section 17."""
MAX_QUERY: Final = 1200
"""Bytes of one query, which fits into one frame of any network."""
TYPE_A: Final = 1
TYPE_PTR: Final = 12
TYPE_TXT: Final = 16
TYPE_AAAA: Final = 28
TYPE_SRV: Final = 33
_CLASS_IN: Final = 1
_CLASS_MASK: Final = 0x7FFF
_HEADER: Final = struct.Struct("!6H")
_TAIL: Final = struct.Struct("!2H")
_MAX_LABEL: Final = 63
_MAX_NAME: Final = 255
_SIZES: Final = {4: IPv4Address, 16: IPv6Address}
_OF_SERVICE: Final = f".{SERVICE}"


def records(packet: bytes) -> Iterator[Record]:
    """Yield the records of our service and of hosts in a packet, which may be hostile.

    Queries have none. A record with a time to live of 0 is a goodbye and is skipped.
    """
    if len(packet) > MAX_PACKET:
        return
    message = DNSIncoming(packet)
    if message.is_query():
        return
    for record in message.answers():
        if record.ttl == 0 or record.class_ & _CLASS_MASK != _CLASS_IN:
            continue
        if (read := _read(record)) is not None:
            yield read


def _read(record: DNSRecord) -> Record | None:
    if isinstance(record, DNSAddress):
        kind = _SIZES.get(len(record.address))
        return Address(record.name, str(kind(record.address))) if kind else None
    if isinstance(record, DNSPointer):
        ours = record.name.lower() == SERVICE and _is_instance(record.alias)
        return Pointer(record.alias) if ours else None
    if not _is_instance(record.name):
        return None
    if isinstance(record, DNSService):
        return Server(record.name, record.server)
    return Text(record.name, record.text) if isinstance(record, DNSText) else None


def queries(questions: Sequence[tuple[str, int]]) -> Iterator[bytes]:
    """Yield query packets for these names and record types.

    A name that DNS cannot encode is skipped.
    """
    body, count = b"", 0
    for name, kind in questions:
        wire = _wire(name)
        if wire is None:
            continue
        question = wire + _TAIL.pack(kind, _CLASS_IN)
        if count and len(body) + len(question) > MAX_QUERY:
            yield _HEADER.pack(0, 0, count, 0, 0, 0) + body
            body, count = b"", 0
        body, count = body + question, count + 1
    if count:
        yield _HEADER.pack(0, 0, count, 0, 0, 0) + body


def _is_instance(name: str) -> bool:
    return name.lower().endswith(_OF_SERVICE) and len(name) > len(_OF_SERVICE)


def _wire(name: str) -> bytes | None:
    """Encode a name as labels; an instance name is one label, including its dots."""
    if _is_instance(name):
        labels = [name[: -len(_OF_SERVICE)], *SERVICE.rstrip(".").split(".")]
    else:
        labels = name.rstrip(".").split(".")
    wire = b""
    for label in labels:
        data = label.encode("utf-8", "replace")
        if not 0 < len(data) <= _MAX_LABEL:
            return None
        wire += bytes((len(data),)) + data
    return wire + b"\0" if len(wire) < _MAX_NAME else None
