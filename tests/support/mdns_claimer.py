"""Claim every queried or probed name: `python -m tests.support.mdns_claimer INTERFACE`."""

from __future__ import annotations

import socket
import struct
import sys

from zeroconf import DNSIncoming  # type: ignore[attr-defined] # its __all__ lacks it

from tests.support.mdns_packets import SERVICE_LABELS, packet, pointer

GROUP = "224.0.0.251"
TYPE = b".".join(SERVICE_LABELS).decode() + "."


def main(interface: str) -> None:
    index = socket.if_nametoindex(interface)
    there = struct.pack("=4s4si", socket.inet_aton(GROUP), bytes(4), index)
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, there)
    channel.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, there)
    channel.bind((GROUP, 5353))
    sys.stdout.write("claiming\n")
    sys.stdout.flush()
    while True:
        message = DNSIncoming(channel.recv(9000))
        if not message.is_query():
            continue
        asked = {question.name for question in message.questions}
        asked |= {getattr(record, "alias", "") for record in message.answers()}
        labels = {name[: -len(TYPE) - 1] for name in asked if name.endswith(f".{TYPE}")}
        for label in labels:
            channel.sendto(packet(pointer(label.encode())), (GROUP, 5353))


if __name__ == "__main__":
    main(sys.argv[1])
