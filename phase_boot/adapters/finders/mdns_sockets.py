"""mDNS sockets, one for each interface and address family, updated as interfaces change."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final

from phase_boot.adapters.finders.mdns_cache import Sender
from phase_boot.adapters.net.address_watch import MulticastInterface, multicast_interfaces
from phase_boot.adapters.net.netlink import NetworkChanges

PORT: Final = 5353
GROUP: Final = "224.0.0.251"
GROUP6: Final = "ff02::fb"
HOPS: Final = 255
_IP_MULTICAST_ALL: Final = 49
_IPV6_MULTICAST_ALL: Final = 29
RECEIVE_BUFFER: Final = 1024 * 1024
"""Bytes; the kernel may limit it (net.core.rmem_max)."""
MAX_DATAGRAM: Final = 9216
MAX_AT_ONCE: Final = 64
"""Packets read before other tasks run."""
FIRST_SECONDS: Final = (0.02, 0.12)
"""Random delay of the first query (RFC 6762, section 5.2)."""
LONGEST_SECONDS: Final = 60.0
"""Longest interval of queries for the service."""
AGAIN_SECONDS: Final = 0.2
"""Retry delay after a failed send, as during duplicate address detection."""
MAX_SOCKETS: Final = 64

OnPacket = Callable[[Sender, bytes], object]


class Endpoint:
    """The socket of one interface and address family."""

    def __init__(self, place: MulticastInterface, on_packet: OnPacket) -> None:
        """Join the group on ``place``.

        Raises:
            OSError: the group cannot be joined.
        """
        self.place = place
        self._on_packet = on_packet
        self.delay = 0.0
        self.due = asyncio.get_running_loop().time() + random.uniform(*FIRST_SECONDS)  # noqa: S311
        self._socket = _open(place)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Leave the group."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def send(self, packets: Iterable[bytes]) -> bool:
        """Send to the group; return whether all packets were sent."""
        group = (GROUP, PORT)
        group6 = (GROUP6, PORT, 0, self.place.index)
        try:
            for packet in packets:
                self._socket.sendto(
                    packet, group if self.place.family == socket.AF_INET else group6
                )
        except OSError:
            return False
        return True

    def ask(self, packets: Iterable[bytes], now: float) -> None:
        """Send the query for the service if due, and schedule the next one."""
        if self.due > now:
            return
        if self.send(packets):
            self.delay = min(LONGEST_SECONDS, max(1.0, self.delay * 2))
            self.due = now + self.delay
        else:
            self.due = now + AGAIN_SECONDS

    def _read(self) -> None:
        for _ in range(MAX_AT_ONCE):
            try:
                packet, source = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                # An error of an earlier packet, or of an interface that was removed.
                return
            address = str(source[0]).partition("%")[0]
            self._on_packet(Sender(self.place.index, self.place.family, address), packet)


class Endpoints:
    """All mDNS sockets; `follow` updates them as interfaces change."""

    def __init__(
        self,
        on_packet: OnPacket,
        find_interfaces: Callable[[], frozenset[MulticastInterface]] = multicast_interfaces,
    ) -> None:
        self._on_packet = on_packet
        self._find_interfaces = find_interfaces
        self._open: dict[MulticastInterface, Endpoint] = {}
        self.failure: str | None = "no interface has an address"
        """Reason for which no socket was opened yet; None after the first one."""

    async def follow(self) -> None:
        """Open and close sockets as interfaces and addresses come and go, until cancelled."""
        with NetworkChanges() as news:
            while True:
                self._update(self._find_interfaces())
                await news.wait()

    def ask(self, packets: Iterable[bytes], now: float) -> None:
        """Send the query for the service on the sockets where it is due."""
        every = tuple(packets)
        for endpoint in self._open.values():
            endpoint.ask(every, now)

    def send(self, index: int, family: int, packets: Iterable[bytes]) -> None:
        """Send to the group on one interface and family, if present."""
        for place, endpoint in self._open.items():
            if (place.index, place.family) == (index, family):
                endpoint.send(packets)

    def close(self) -> None:
        """Close all sockets."""
        for endpoint in self._open.values():
            endpoint.close()
        self._open.clear()

    def _update(self, wanted: frozenset[MulticastInterface]) -> None:
        for place in self._open.keys() - wanted:
            self._open.pop(place).close()
        for place in sorted(wanted - self._open.keys())[: MAX_SOCKETS - len(self._open)]:
            try:
                self._open[place] = Endpoint(place, self._on_packet)
            except OSError as error:
                self.failure = self.failure and f"{place.interface}: {error.strerror or error}"
            else:
                self.failure = None


def _open(place: MulticastInterface) -> socket.socket:
    family = socket.AF_INET if place.family == socket.AF_INET else socket.AF_INET6
    channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Without this a datagram may reach the socket of another interface (SO_REUSEPORT).
        # Unprivileged since Linux 5.7.
        with contextlib.suppress(OSError):
            device = place.interface.encode()
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
        with contextlib.suppress(OSError):
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if family == socket.AF_INET:
            _join(channel, place.index)
        else:
            _join6(channel, place.index)
    except OSError:
        channel.close()
        raise
    return channel


def _join(channel: socket.socket, index: int) -> None:
    """Receive and send on one interface only (ip(7): struct ip_mreqn)."""
    there = struct.pack("=4s4si", socket.inet_aton(GROUP), bytes(4), index)
    channel.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    channel.bind((GROUP, PORT))
    channel.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, there)
    channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, there)
    channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
    channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)


def _join6(channel: socket.socket, index: int) -> None:
    there = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, GROUP6), index)
    channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    channel.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
    # The index as scope binds the socket to the interface.
    channel.bind((GROUP6, PORT, 0, index))
    channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, there)
    channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOPS)
    channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
