"""Send hostile mDNS packets until ended: `python -m tests.support.mdns_attacker INTERFACE COUNT`.

COUNT names that never resolve, every packet of `tests.support.mdns_packets`, and goodbyes of `the
provider`.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress

from tests.support.mdns_packets import (
    HOSTILE_LABELS,
    address,
    hostile_packets,
    packet,
    pointer,
)

GROUPS = (("224.0.0.251", socket.AF_INET), ("ff02::fb", socket.AF_INET6))
PAUSE_SECONDS = 0.5
MOST_ROUNDS = 120
BATCH = 20


def packets(count: int) -> list[bytes]:
    names = [
        HOSTILE_LABELS[n % len(HOSTILE_LABELS)][:50] + b"%d" % n
        if n >= len(HOSTILE_LABELS)
        else HOSTILE_LABELS[n]
        for n in range(count)
    ]
    pointers = [pointer(each) for each in names]
    batches = [packet(*pointers[at : at + BATCH]) for at in range(0, count, BATCH)]
    # No record contradicts one of avahi's, which would take that for a conflict and rename itself.
    goodbyes = [
        packet(pointer(b"the provider", ttl=0), address(b"neighbour", ip, ttl=0))
        for ip in ("10.77.0.2", "fd77:b007::2")
    ]
    return [*batches, *goodbyes, *hostile_packets().values()]


def send(interface: str, sent: list[bytes]) -> None:
    index = socket.if_nametoindex(interface)
    for group, family in GROUPS:
        with socket.socket(family, socket.SOCK_DGRAM) as channel:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            channel.bind(("", 5353))
            target = (group, 5353) if family == socket.AF_INET else (group, 5353, 0, index)
            for each in sent:
                with suppress(OSError):
                    channel.sendto(each, target)


def main(interface: str, count: int) -> None:
    sent = packets(count)
    for _ in range(MOST_ROUNDS):
        send(interface, sent)
        sys.stdout.write("sent\n")
        sys.stdout.flush()
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
