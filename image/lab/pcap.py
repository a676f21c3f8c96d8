"""Read a packet capture (pcap) of a guest's Ethernet, one frame at a time.

Only the fields that tests read are decoded. A truncated frame, or one with wrong lengths, is
yielded with the protocol `malformed`, so that no frame goes unnoticed.
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
_MAX_FRAME: Final = 1 << 18
_ETHERTYPES: Final = {0x0800: "ipv4", 0x0806: "arp", 0x86DD: "ipv6"}
_TRANSPORTS: Final = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_EXTENSIONS: Final = frozenset({0, 43, 60})
"""IPv6 extension headers with a length field: hop-by-hop, routing, destination options."""
_FRAGMENT: Final = 44
_MIN_TCP: Final = 20
_UDP_HEADER: Final = 8


class CaptureError(ValueError):
    """The file is no capture of Ethernet frames."""


class _Truncated(ValueError):
    """A frame ends inside a header, or a length field is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One frame; fields that its protocol does not have are empty or 0.

    Attributes:
        protocol: arp, tcp, udp, icmp, icmpv6, igmp; `fragment`, `other` or `malformed`.
        kind: the type of an ICMP or ICMPv6 message.
        payload: the transport's payload; without a transport, what follows the Ethernet header.
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

    def uses_port(self, port: int) -> bool:
        """Say whether `port` is the source or the target port."""
        return port in (self.source_port, self.target_port)

    def contains(self, text: str | bytes) -> bool:
        """Say whether the payload contains `text`; ASCII case does not matter."""
        needle = text.encode() if isinstance(text, str) else text
        return needle.lower() in self.payload.lower()


def read_packets(path: Path) -> Iterator[Packet]:
    """Yield every frame of the capture at `path`, oldest first; one is in memory at a time.

    An incomplete last frame is left out: QEMU was still writing it.

    Raises:
        CaptureError: the file is no capture, or not of Ethernet.
    """
    with path.open("rb") as file:
        order, resolution = _read_header(file)
        record = struct.Struct(order + "IIII")
        while len(head := file.read(record.size)) == record.size:
            seconds, fraction, kept, _ = record.unpack(head)
            if kept > _MAX_FRAME:
                raise CaptureError(f"{path} has a frame of {kept} bytes; the file is damaged.")
            frame = file.read(kept)
            if len(frame) < kept:
                return
            yield read_frame(frame, at=seconds + fraction * resolution)


def _read_header(file: IO[bytes]) -> tuple[str, float]:
    head = file.read(24)
    for order in "<>":
        if len(head) == 24 and struct.unpack(order + "I", head[:4])[0] == _MAGIC:  # noqa: PLR2004
            (link,) = struct.unpack_from(order + "I", head, 20)
            if link != _ETHERNET:
                raise CaptureError(
                    f"The capture has the link type {link}; only Ethernet (1) can be read."
                )
            return order, 1e-6
    raise CaptureError("The file does not begin as a pcap file.")


def read_frame(frame: bytes, *, at: float) -> Packet:
    """Decode an Ethernet frame with arbitrary content."""
    undecoded = Packet(
        at=at,
        from_mac=frame[6:12].hex(":"),
        to_mac=frame[:6].hex(":"),
        ethertype=int.from_bytes(frame[12:14], "big"),
        protocol="other",
        payload=frame[14:],
    )
    try:
        match undecoded.family:
            case "ipv4":
                return _ipv4(undecoded, undecoded.payload)
            case "ipv6":
                return _ipv6(undecoded, undecoded.payload)
            case "arp":
                return _arp(undecoded, undecoded.payload)
            case _:
                return undecoded
    except _Truncated:
        return replace(undecoded, protocol="malformed")


def _arp(packet: Packet, data: bytes) -> Packet:
    _require(data, 28)
    source, target = IPv4Address(data[14:18]), IPv4Address(data[24:28])
    return replace(packet, protocol="arp", source=str(source), target=str(target))


def _ipv4(packet: Packet, data: bytes) -> Packet:
    _require(data, 20)
    head, total = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
    if data[0] >> 4 != 4 or not 20 <= head <= total:  # noqa: PLR2004 - RFC 791
        raise _Truncated
    _require(data, total)
    source, target = IPv4Address(data[12:16]), IPv4Address(data[16:20])
    packet = replace(packet, source=str(source), target=str(target), payload=data[head:total])
    if int.from_bytes(data[6:8], "big") & 0x1FFF:
        return replace(packet, protocol="fragment")
    return _transport(packet, data[9], data[head:total])


def _ipv6(packet: Packet, data: bytes) -> Packet:
    _require(data, 40)
    length, next_header = int.from_bytes(data[4:6], "big"), data[6]
    _require(data, 40 + length)
    source, target = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    body = data[40 : 40 + length]
    while next_header in _EXTENSIONS:
        _require(body, 8)
        next_header, size = body[0], body[1] * 8 + 8
        _require(body, size)
        body = body[size:]
    packet = replace(packet, source=str(source), target=str(target), payload=body)
    if next_header == _FRAGMENT:
        return replace(packet, protocol="fragment")
    return _transport(packet, next_header, body)


def _transport(packet: Packet, number: int, body: bytes) -> Packet:
    packet = replace(packet, protocol=_TRANSPORTS.get(number, "other"))
    if packet.protocol in {"icmp", "icmpv6"}:
        _require(body, 4)
        return replace(packet, kind=body[0])
    if packet.protocol not in {"tcp", "udp"}:
        return packet
    _require(body, _UDP_HEADER if packet.protocol == "udp" else _MIN_TCP)
    source, target = struct.unpack("!HH", body[:4])
    head = _UDP_HEADER if packet.protocol == "udp" else (body[12] >> 4) * 4
    if packet.protocol == "tcp" and head < _MIN_TCP:
        raise _Truncated
    _require(body, head)
    return replace(packet, source_port=source, target_port=target, payload=body[head:])


def _require(data: bytes, size: int) -> None:
    if len(data) < size:
        raise _Truncated
