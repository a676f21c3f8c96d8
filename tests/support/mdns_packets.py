"""mDNS responses built octet by octet, so that they can be invalid."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import Final

SERVICE_LABELS: Final = (b"_phase-image", b"_tcp", b"local")
RESPONSE: Final = 0x8400
FLUSH: Final = 0x8001
PTR, TXT, SRV, A, AAAA = 12, 16, 33, 1, 28
PATH: Final = "/stable/amd64/manifest.json"
TTL: Final = 120


def name(*labels: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in labels if label) + b"\0"


def instance(label: bytes) -> bytes:
    return name(label, *SERVICE_LABELS)


def record(owner: bytes, kind: int, data: bytes, *, ttl: int = TTL, cls: int = 1) -> bytes:
    return owner + struct.pack("!HHIH", kind, cls, ttl, len(data)) + data


def packet(*records: bytes, flags: int = RESPONSE, count: int | None = None) -> bytes:
    answers = len(records) if count is None else count
    return struct.pack("!6H", 0, flags, 0, answers, 0, 0) + b"".join(records)


def pointer(label: bytes, *, ttl: int = TTL) -> bytes:
    return record(name(*SERVICE_LABELS), PTR, instance(label), ttl=ttl)


def server(label: bytes, host: bytes, *, ttl: int = TTL, cls: int = FLUSH) -> bytes:
    data = struct.pack("!3H", 0, 0, 8070) + name(host, b"local")
    return record(instance(label), SRV, data, ttl=ttl, cls=cls)


def text(label: bytes, strings: Sequence[bytes], *, ttl: int = TTL, cls: int = FLUSH) -> bytes:
    data = b"".join(bytes((len(string),)) + string for string in strings)
    return record(instance(label), TXT, data, ttl=ttl, cls=cls)


def address(host: bytes, ip: str, *, ttl: int = TTL, cls: int = FLUSH) -> bytes:
    parsed = ipaddress.ip_address(ip)
    kind = A if parsed.version == 4 else AAAA
    return record(name(host, b"local"), kind, parsed.packed, ttl=ttl, cls=cls)


def strings(host: str, *, arch: str = "amd64", channel: str = "stable") -> tuple[bytes, ...]:
    mirror = f"mirror=http://{host}.local:8070{PATH}"
    return (f"arch={arch}".encode(), f"channel={channel}".encode(), mirror.encode())


def announcement(label: bytes, host: str, *ips: str, ttl: int = TTL) -> tuple[bytes, ...]:
    """Return the records of a whole announcement of ``host``."""
    owner = host.encode()
    return (
        pointer(label, ttl=ttl),
        server(label, owner, ttl=ttl),
        text(label, strings(host), ttl=ttl),
        *(address(owner, ip, ttl=ttl) for ip in ips),
    )


HOSTILE_LABELS: Final = (
    b"\x1b]0;x\x07",
    b"_sub",
    b"a.b\\.c",
    b"\0",
    b"x" * 63,
    b"\xe2\x80\xaeevil",
    b"good (2)",
    b"\xff in raw bytes",
    b"\xed\xb3\xbf",
    b"_phase-image",
    b"x" * 40 + b"\xe2\x82",
)
"""Instance names; a label holds at most 63 octets."""


def hostile_packets() -> dict[str, bytes]:
    """Return hostile packets by their defect."""
    deep = b"".join(b"\x01a" + struct.pack("!H", 0xC000 | (12 + 4 * n)) for n in range(300))
    long = name(*([b"y" * 63] * 5))
    huge = [pointer(b"%05d" % number) for number in range(150)]
    return {
        "nothing": b"",
        "a header alone": packet(),
        "a torn header": packet()[:7],
        "noise": bytes(range(256)) * 4,
        "records that are not there": packet(count=65535),
        "a pointer to itself": packet(b"\xc0\x0c" + struct.pack("!HHIH", PTR, 1, 1, 0)),
        "deep compression": packet(deep, count=300),
        "a name of 320 octets": packet(record(long, PTR, instance(b"x"))),
        "an alias of 320 octets": packet(record(name(*SERVICE_LABELS), PTR, long)),
        "an alias of nothing": packet(record(name(*SERVICE_LABELS), PTR, b"\0")),
        "an alias of the service": packet(
            record(name(*SERVICE_LABELS), PTR, name(*SERVICE_LABELS))
        ),
        "an address of 3 octets": packet(record(name(b"h", b"local"), A, b"abc")),
        "a server of 3 octets": packet(record(instance(b"x"), SRV, b"abc")),
        "a text cut off": packet(record(instance(b"x"), TXT, b"\xffarch=amd64")),
        "150 names at once": packet(*huge),
        "a query": packet(pointer(b"x"), flags=0),
        "more than a packet may hold": packet(*huge) + bytes(60_000),
        "a bad record before a good one": packet(
            record(instance(b"x"), SRV, b"abc"), pointer(b"y")
        ),
    }
