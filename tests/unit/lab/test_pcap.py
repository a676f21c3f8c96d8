"""Packet captures: frames with wrong lengths are reported and never decoded."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from pathlib import Path

import pytest

from image.lab.pcap import CaptureError, read_frame, read_packets

MACS = bytes.fromhex("525400770001525400770000")
HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65536, 1)


def ethernet(ethertype: int, rest: bytes) -> bytes:
    return MACS + ethertype.to_bytes(2, "big") + rest


def ipv4(protocol: int, body: bytes, *, fragment: int = 0) -> bytes:
    total = 20 + len(body)
    head = struct.pack("!BBHHHBBH", 0x45, 0, total, 0, fragment, 64, protocol, 0)
    return ethernet(
        0x0800, head + ip_address("10.77.0.1").packed + ip_address("10.77.0.2").packed + body
    )


def ipv6(following: int, body: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(body), following, 64)
    return ethernet(
        0x86DD, head + ip_address("fe80::1").packed + ip_address("ff02::1").packed + body
    )


def udp(source: int, target: int, body: bytes) -> bytes:
    return struct.pack("!HHHH", source, target, 8 + len(body), 0) + body


def tcp(source: int, target: int, body: bytes) -> bytes:
    return struct.pack("!HHIIBBHHH", source, target, 0, 0, 6 << 4, 0, 0, 0, 0) + bytes(4) + body


def test_ports_and_payload_of_both_families_are_found() -> None:
    asked = read_frame(ipv4(17, udp(68, 67, b"hello Phase-Seed")), at=1.0)
    assert (asked.family, asked.protocol) == ("ipv4", "udp")
    assert (asked.source, asked.target) == ("10.77.0.1", "10.77.0.2")
    assert (asked.source_port, asked.target_port) == (68, 67)
    assert asked.uses_port(67)
    assert asked.contains("phase-seed")
    assert not asked.contains("phase-target")
    sent = read_frame(ipv6(6, tcp(40000, 443, b"\x16\x03\x01")), at=1.0)
    assert (sent.family, sent.protocol, sent.target_port) == ("ipv6", "tcp", 443)
    assert sent.payload == b"\x16\x03\x01"
    assert (sent.from_mac, sent.to_mac) == ("52:54:00:77:00:00", "52:54:00:77:00:01")


def test_the_transport_is_found_behind_ip_options() -> None:
    multicast = bytes([58, 0, 5, 2, 0, 0, 1, 0])
    report = read_frame(ipv6(0, multicast + bytes([143, 0, 0, 0])), at=0)
    assert (report.protocol, report.kind) == ("icmpv6", 143)


def test_a_fragment_is_marked_and_can_be_searched() -> None:
    rest = read_frame(ipv4(17, b"the rest of a name", fragment=185), at=0)
    assert rest.protocol == "fragment"
    assert rest.contains("NAME")
    assert read_frame(ipv6(44, bytes(8) + b"name"), at=0).protocol == "fragment"


def test_padding_after_the_datagram_is_not_payload() -> None:
    assert read_frame(ipv4(17, udp(1, 2, b"x")) + bytes(20), at=0).payload == b"x"


@pytest.mark.parametrize(
    "frame",
    [
        ethernet(0x0800, b"\x45"),
        ethernet(0x86DD, bytes(40)),
        ethernet(0x0806, bytes(27)),
        ipv4(17, b"\0\1"),
        ipv4(6, bytes(20)),
        ipv4(1, b""),
        ipv6(0, bytes([6, 200, 0, 0, 0, 0, 0, 0])),
        ipv6(58, b""),
        ipv4(17, udp(1, 2, b"x"))[:-1],
    ],
    ids=["ip", "version", "arp", "udp", "tcp", "icmp", "option", "icmpv6", "cut"],
)
def test_a_frame_with_wrong_lengths_is_malformed_but_not_lost(frame: bytes) -> None:
    packet = read_frame(frame, at=0)
    assert packet.protocol == "malformed"
    assert packet.payload == frame[14:]


def test_unknown_ethertypes_are_named_by_number() -> None:
    assert read_frame(ethernet(0x88CC, b"lldp"), at=0).family == "0x88cc"
    assert read_frame(b"", at=0).protocol == "other"


def test_a_file_is_read_up_to_an_incomplete_frame(tmp_path: Path) -> None:
    path, frame = tmp_path / "capture", ipv4(17, udp(5353, 5353, b"x"))
    record = struct.pack("<IIII", 7, 500_000, len(frame), len(frame)) + frame
    path.write_bytes(HEAD + record + record + record[:-1])
    found = list(read_packets(path))
    assert [packet.at for packet in found] == [7.5, 7.5]
    assert all(packet.uses_port(5353) for packet in found)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", HEAD[:-4] + struct.pack("<I", 113), HEAD + struct.pack("<IIII", 0, 0, 1 << 30, 0)],
    ids=["empty", "other", "link", "length"],
)
def test_a_file_that_is_no_ethernet_capture_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(content)
    with pytest.raises(CaptureError):
        list(read_packets(path))
