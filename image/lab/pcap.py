"""What a guest sent and received: QEMU's capture of its cable, read strictly, one frame at a time.

Only what tests ask for is taken apart; a frame that is cut short or lies about its lengths is kept
with the protocol `malformed`, so that nothing on the cable goes unseen.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import IO, Final

_MAGIC: Final = 0xA1B2C3D4
_ETHERNET: Final = 1
_LONGEST: Final = 1 << 18
_ETHERTYPES: Final = {0x0800: "ipv4", 0x0806: "arp", 0x86DD: "ipv6"}
_TRANSPORTS: Final = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_EXTENSIONS: Final = frozenset({0, 43, 60})
"""IPv6 headers that stand between the address and the transport, each with its length."""
_FRAGMENT: Final = 44
_LEAST_TCP: Final = 20
_UDP: Final = 8


class CaptureError(ValueError):
    """The file is no capture of an Ethernet cable."""


class _Cut(ValueError):
    """A frame ends before it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One frame. What it does not have is empty or 0.

    Attributes:
        protocol: arp, tcp, udp, icmp, icmpv6, igmp; `fragment`, `other` or `malformed`.
        kind: the type of an ICMP or ICMPv6 message.
        payload: what the transport carries; of all others, what follows Ethernet's header.
    """

    at: float
    from_mac: str
    to_mac: str
    ethertype: int
    protocol: str
    source: str = ""
    target: str = ""
    source_port: int = 0
    target_port: int = 0
    kind: int = 0
    payload: bytes = b""

    @property
    def family(self) -> str:
        """`ipv4`, `ipv6`, `arp`, or the ethertype in hexadecimal."""
        return _ETHERTYPES.get(self.ethertype, f"{self.ethertype:#06x}")

    def between(self, port: int) -> bool:
        """Whether one of its two ports is `port`."""
        return port in (self.source_port, self.target_port)

    def holds(self, text: str | bytes) -> bool:
        """Whether `text` stands in the payload, in whatever case its letters are."""
        wanted = text.encode() if isinstance(text, str) else text
        return wanted.lower() in self.payload.lower()


def packets(path: Path) -> Iterator[Packet]:
    """Every frame of the capture at `path`, oldest first; one is in memory at a time.

    A last frame that is being written, or that a power cut tore off, is left out.

    Raises:
        CaptureError: it is no capture, or not of an Ethernet cable.
    """
    with path.open("rb") as file:
        order, least = _head(file)
        record = struct.Struct(order + "IIII")
        while len(head := file.read(record.size)) == record.size:
            seconds, fraction, kept, _ = record.unpack(head)
            if kept > _LONGEST:
                raise CaptureError(f"{path} has a frame of {kept} bytes; it is damaged.")
            frame = file.read(kept)
            if len(frame) < kept:
                return
            yield read_frame(frame, at=seconds + fraction * least)


def _head(file: IO[bytes]) -> tuple[str, float]:
    head = file.read(24)
    for order in "<>":
        if len(head) == 24 and struct.unpack(order + "I", head[:4])[0] == _MAGIC:  # noqa: PLR2004
            (link,) = struct.unpack_from(order + "I", head, 20)
            if link != _ETHERNET:
                raise CaptureError(f"The capture is of a link of type {link}, not of Ethernet.")
            return order, 1e-6
    raise CaptureError("This is no capture of packets.")


def read_frame(frame: bytes, *, at: float) -> Packet:
    """Take an Ethernet frame apart; it may hold anything."""
    bare = Packet(
        at=at,
        from_mac=frame[6:12].hex(":"),
        to_mac=frame[:6].hex(":"),
        ethertype=int.from_bytes(frame[12:14], "big"),
        protocol="other",
        payload=frame[14:],
    )
    try:
        match bare.family:
            case "ipv4":
                return _ipv4(bare, bare.payload)
            case "ipv6":
                return _ipv6(bare, bare.payload)
            case "arp":
                return _arp(bare, bare.payload)
            case _:
                return bare
    except _Cut:
        return replace(bare, protocol="malformed")


def _arp(packet: Packet, data: bytes) -> Packet:
    _need(data, 28)
    source, target = IPv4Address(data[14:18]), IPv4Address(data[24:28])
    return replace(packet, protocol="arp", source=str(source), target=str(target))


def _ipv4(packet: Packet, data: bytes) -> Packet:
    _need(data, 20)
    head, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
    if data[0] >> 4 != 4 or not 20 <= head <= total:  # noqa: PLR2004 - RFC 791's own numbers
        raise _Cut
    _need(data, total)
    source, target = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    packet = replace(packet, source=str(source), target=str(target), payload=data[head:total])
    if int.from_bytes(data[6:8], "big") & 0x1FFF:
        return replace(packet, protocol="fragment")
    return _transport(packet, data[9], data[head:total])


def _ipv6(packet: Packet, data: bytes) -> Packet:
    _need(data, 40)
    length, following = int.from_bytes(data[4:6], "big"), data[6]
    _need(data, 40 + length)
    source, target = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    body = data[40 : 40 + length]
    while following in _EXTENSIONS:
        _need(body, 8)
        following, size = body[0], body[1] * 8 + 8
        _need(body, size)
        body = body[size:]
    packet = replace(packet, source=str(source), target=str(target), payload=body)
    if following == _FRAGMENT:
        return replace(packet, protocol="fragment")
    return _transport(packet, following, body)


def _transport(packet: Packet, number: int, body: bytes) -> Packet:
    packet = replace(packet, protocol=_TRANSPORTS.get(number, "other"))
    if packet.protocol in {"icmp", "icmpv6"}:
        _need(body, 4)
        return replace(packet, kind=body[0])
    if packet.protocol not in {"tcp", "udp"}:
        return packet
    _need(body, _UDP if packet.protocol == "udp" else _LEAST_TCP)
    source, target = struct.unpack("!HH", body[:4])
    head = _UDP if packet.protocol == "udp" else (body[12] >> 4) * 4
    if packet.protocol == "tcp" and head < _LEAST_TCP:
        raise _Cut
    _need(body, head)
    return replace(packet, source_port=source, target_port=target, payload=body[head:])


def _need(data: bytes, size: int) -> None:
    if len(data) < size:
        raise _Cut
