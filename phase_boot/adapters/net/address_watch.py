"""Waits for an interface with a usable address, independent of the program that configures it.

Addresses, gateways and DNS servers are read from /proc and resolv.conf, so that it also works on a
desktop with NetworkManager.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import struct
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ifaddr

from phase_boot.adapters.net.netlink import NetworkChanges
from phase_boot.machine.errors import NoNetwork
from phase_boot.ports.network import Link, Setup, SetupFailed

MAX_SERVERS: Final = 8
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
_GATEWAY: Final = 0x2
"""Flag RTF_GATEWAY of a route."""
_TENTATIVE: Final = 0x40
_OPTIMISTIC: Final = 0x04
_DAD_FAILED: Final = 0x08
"""Flags of an IPv6 address (IFA_F_* of linux/if_addr.h)."""


class AddressWatch:
    """Implements `ports.network.Network` by watching the addresses of all interfaces."""

    def __init__(
        self,
        *,
        loopback: bool = False,
        root: Path = Path("/"),
        permitted: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Watch the interfaces of this network namespace.

        Args:
            loopback: whether the loopback interface counts as a link.
            root: where /proc and /etc are, for tests.
            permitted: returns whether the interface of this name may be used.
        """
        self._loopback = loopback
        self._root = root
        self._permitted = permitted

    async def link(self, seconds: float) -> Link:
        """Return the first interface with an address that is not link-local."""
        links = self._sorted()
        if not links and seconds > 0:
            try:
                async with asyncio.timeout(seconds), aclosing(self.changes()) as snapshots:
                    async for links in snapshots:
                        if links:
                            break
            except TimeoutError:
                links = ()
        if links:
            return links[0]
        raise NoNetwork(
            f"no link got an address within {seconds:g} seconds ({_seen()}); "
            "check the cable and that this network has DHCP, then retry"
        )

    async def changes(self) -> AsyncGenerator[tuple[Link, ...], None]:
        """Yield the usable links, loopback last, now and after each change."""
        before = None
        with NetworkChanges() as news:
            while True:
                links = self._sorted()
                if links != before:
                    before = links
                    yield links
                await news.wait()

    def interfaces(self) -> tuple[str, ...]:
        """Return all interfaces except loopback, with or without address."""
        names = {adapter.nice_name for adapter in ifaddr.get_adapters(include_unconfigured=True)}
        return tuple(sorted(names - {"lo"}))

    async def configure(self, setup: Setup, *, lan_only: bool) -> None:  # noqa: ARG002 - the port's
        """Raise: outside the seed Phase Boot does not configure interfaces."""
        raise SetupFailed(
            f"{setup.interface} belongs to this machine; configure it in its operating system"
        )

    def _sorted(self) -> tuple[Link, ...]:
        return tuple(sorted(self._links(), key=_is_loopback))

    def _links(self) -> Iterator[Link]:
        unready = frozenset(self._unready())
        for adapter in ifaddr.get_adapters():
            if not self._permitted(adapter.nice_name):
                continue
            usable = tuple(
                str(each)
                for each in _interfaces(adapter)
                if self._usable(each.ip) and each.ip not in unready
            )
            if usable:
                name = adapter.nice_name
                yield Link(
                    name,
                    usable,
                    gateways=tuple(self._gateways(name)),
                    dns=self._servers(),
                    vlan=self._vlan(name),
                )

    def _usable(self, address: _Address) -> bool:
        if address.is_loopback:
            return self._loopback
        return not address.is_link_local

    def _unready(self) -> Iterator[_Address]:
        """Yield IPv6 addresses whose duplicate address detection is pending or failed."""
        for words in self._rows("proc/net/if_inet6"):
            # Address, index, prefix length, scope, flags, interface.
            flags = int(words[4], 16)
            if flags & _DAD_FAILED or (flags & _TENTATIVE and not flags & _OPTIMISTIC):
                yield ipaddress.IPv6Address(bytes.fromhex(words[0]))

    def _gateways(self, interface: str) -> Iterator[str]:
        for words in self._rows("proc/net/route"):
            # Interface, destination, gateway, flags, ...; addresses in host byte order.
            name, destination, gateway, flags = words[:4]
            if name == interface and destination == "00000000" and int(flags, 16) & _GATEWAY:
                yield socket.inet_ntoa(struct.pack("=I", int(gateway, 16)))
        for words in self._rows("proc/net/ipv6_route"):
            # Destination, prefix length, source, prefix length, next hop, metric, two counters,
            # flags, interface.
            if words[-1] == interface and words[1] == "00" and int(words[-2], 16) & _GATEWAY:
                yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[4]))

    def _servers(self) -> tuple[str, ...]:
        """Return the DNS servers of resolv.conf."""
        found = [words[1] for words in self._rows("etc/resolv.conf") if words[0] == "nameserver"]
        return tuple(found[:MAX_SERVERS])

    def _vlan(self, interface: str) -> int | None:
        for words in self._rows(f"proc/net/vlan/{interface}"):
            if match := re.search(r"VID: (\d{1,4})\b", " ".join(words)):
                return int(match.group(1))
        return None

    def _rows(self, name: str) -> Iterator[list[str]]:
        try:
            lines = (self._root / name).read_text().splitlines()
        except OSError:
            return
        for line in lines:
            # Some files begin with a heading.
            if len(words := line.split()) > 1 and words[0] != "Iface":
                yield words


@dataclass(frozen=True, slots=True, order=True)
class MulticastInterface:
    """An interface and an address family for multicast."""

    interface: str
    index: int
    family: int


def multicast_interfaces(
    permitted: Callable[[str], bool] = lambda _: True,
) -> frozenset[MulticastInterface]:
    """Return the interfaces with addresses, once for each address family.

    ``permitted`` returns whether the interface of this name may be used.
    """
    return frozenset(
        MulticastInterface(
            adapter.nice_name,
            adapter.index,
            socket.AF_INET if isinstance(ip.ip, str) else socket.AF_INET6,
        )
        for adapter in ifaddr.get_adapters()
        if adapter.index is not None and permitted(adapter.nice_name)
        for ip in adapter.ips
    )


def has_route(address: str) -> bool:
    """Return whether the kernel has a route to ``address``; sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket only selects the route; port 9 is discard.
            probe.connect((address, 9))
        except (OSError, ValueError):
            return False
    return True


def on_link(host: str) -> bool:
    """Return whether ``host`` is an address in a directly connected network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_multicast or address.is_unspecified:
        return False
    if address.is_loopback or address.is_link_local:
        return True
    adapters: Iterable[ifaddr.Adapter] = ifaddr.get_adapters()
    return any(address in each.network for adapter in adapters for each in _interfaces(adapter))


def _interfaces(adapter: ifaddr.Adapter) -> Iterator[_Interface]:
    """Yield the adapter's addresses with their networks."""
    for ip in adapter.ips:
        text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        yield ipaddress.ip_interface(f"{text}/{ip.network_prefix}")


def _is_loopback(link: Link) -> bool:
    return ipaddress.ip_interface(link.addresses[0]).is_loopback


def _seen() -> str:
    others = AddressWatch().interfaces()
    return "interfaces: " + ", ".join(others) if others else "no network interface was found"
