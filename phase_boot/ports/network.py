"""Port of the network's configuration: interfaces, addresses, gateways and name servers."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv6Address,
    IPv6Interface,
    ip_address,
    ip_interface,
)
from typing import Final, Protocol, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
WithPrefix: TypeAlias = IPv4Interface | IPv6Interface

INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
"""Interface names that are configured. The kernel accepts more; in networkd's files some of those
would be patterns."""
VLANS: Final = range(1, 4095)
MAX_ADDRESSES: Final = 4
MAX_SERVERS: Final = 3
"""Name servers that a resolver queries (resolv.conf(5))."""


@dataclass(frozen=True, slots=True)
class Link:
    """A usable interface with its configuration."""

    interface: str
    addresses: tuple[str, ...]
    """Each with its prefix length, as in `10.0.0.2/24`."""
    gateways: tuple[str, ...] = ()
    """The default gateways."""
    dns: tuple[str, ...] = ()
    """The name servers."""
    vlan: int | None = None
    """The VLAN's number if the interface is one."""


def own_addresses(links: Iterable[Link]) -> frozenset[str]:
    """Return the addresses of links, without prefix lengths."""
    return frozenset(each.partition("/")[0] for link in links for each in link.addresses)


def reach_of(links: Iterable[Link]) -> frozenset[tuple[str, str]]:
    """Return each interface with each of its networks and gateways.

    A snapshot whose reach has an element that an earlier one lacked may lead to a host that could
    not be reached before. Another address of the same network (RFC 8981) adds nothing.
    """
    reach = set[tuple[str, str]]()
    for link in links:
        reach |= {(link.interface, _network_of(address)) for address in link.addresses}
        reach |= {(link.interface, f"via {gateway}") for gateway in link.gateways}
    return frozenset(reach)


def link_towards(host: str, links: Iterable[Link]) -> Link | None:
    """Return the link over which ``host`` is most likely reached, or None without any link.

    An address in a network of a link is reached over that link; other addresses, and names, over
    the first link with a gateway.

    Args:
        host: a name, or an address with or without brackets and zone.
        links: the usable links, the preferred one first.
    """
    every = tuple(links)
    text, _, zone = host.strip("[]").replace("%25", "%").partition("%")
    try:
        address: Address | None = ip_address(text)
    except ValueError:
        address = None
    for link in every:
        if zone == link.interface or (address is not None and _is_within(address, link)):
            return link
    return next((link for link in every if link.gateways), every[0] if every else None)


def _network_of(address: str) -> str:
    try:
        return str(ip_interface(address).network)
    except ValueError:
        return address


def _is_within(address: Address, link: Link) -> bool:
    for each in link.addresses:
        try:
            if address in ip_interface(each).network:
                return True
        except ValueError:
            continue
    return False


class SetupFailed(Exception):
    """An interface could not be configured; the text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The requested configuration of one interface.

    Attributes:
        interface: its name.
        addresses: with their prefixes; without any, DHCP and router advertisements are used.
        gateways: at most one of each address family, in a network of the addresses.
        dns: name servers, in addition to those of DHCP.
        vlan: the number of the VLAN that the addresses belong to; None for no VLAN.

    Raises:
        ValueError: the configuration is invalid; the text is the reason.
    """

    interface: str
    addresses: tuple[WithPrefix, ...] = ()
    gateways: tuple[Address, ...] = ()
    dns: tuple[Address, ...] = ()
    vlan: int | None = None

    def __post_init__(self) -> None:
        if not INTERFACE.fullmatch(self.interface):
            raise ValueError(f"{self.interface!r} is no name of a network interface")
        if self.vlan is not None and self.vlan not in VLANS:
            raise ValueError(f"a VLAN has a number from {VLANS[0]} to {VLANS[-1]}")
        if len(self.addresses) > MAX_ADDRESSES:
            raise ValueError(f"more than {MAX_ADDRESSES} addresses are not set")
        if len(self.dns) > MAX_SERVERS:
            raise ValueError(f"more than {MAX_SERVERS} name servers are never asked")
        # Python accepts any text as a scope, and free text must not get into networkd's files.
        for each in (*self.addresses, *self.gateways, *self.dns):
            if "%" in str(each):
                raise ValueError("an address stands without its %interface here")
        for address in (*(each.ip for each in self.addresses), *self.gateways, *self.dns):
            _usable(address)
        for gateway in self.gateways:
            self._reached(gateway)
        if len({gateway.version for gateway in self.gateways}) != len(self.gateways):
            raise ValueError("there are two gateways of one family; name one")

    def _reached(self, gateway: Address) -> None:
        if any(gateway == each.ip for each in self.addresses):
            raise ValueError(f"{gateway} is this machine's own address, not the gateway's")
        near = isinstance(gateway, IPv6Address) and gateway.is_link_local
        if not near and not any(gateway in each.network for each in self.addresses):
            raise ValueError(f"the gateway {gateway} is in no network of the addresses")


def _usable(address: Address) -> None:
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError(f"{address} is no address of one machine on a network")


class Network(Protocol):
    """Reports usable links, which another program configures, and requests a configuration."""

    async def link(self, seconds: float) -> Link:
        """Wait for a link with an address.

        Raises:
            NoNetwork: no link came up within ``seconds``; the text names the interfaces.
        """

    def changes(self) -> AsyncGenerator[tuple[Link, ...], None]:
        """Yield all usable links: immediately, then after each change of the links.

        A snapshot may be empty, and each differs from the one before it. The stream has no end: the
        caller closes it. Where `reach_of` a snapshot has a new element, a search or a URL that
        failed is worth another try before its pause is over.
        """

    def interfaces(self) -> tuple[str, ...]:
        """Return the names of the interfaces that `configure` accepts."""

    async def configure(self, setup: Setup, *, lan_only: bool) -> None:
        """Apply ``setup``; it lasts until the machine is switched off.

        With ``lan_only`` there is no route beyond the networks of its addresses.

        Raises:
            SetupFailed: it could not be applied; the text is the reason.
        """
