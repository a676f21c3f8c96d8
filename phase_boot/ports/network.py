"""The network, up to having an address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Final, Protocol, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
WithPrefix: TypeAlias = IPv4Interface | IPv6Interface

INTERFACE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
"""What we set up; the kernel takes more, and a pattern of networkd's would be more."""
VLANS: Final = range(1, 4095)
MAX_ADDRESSES: Final = 4
MAX_SERVERS: Final = 3
"""So many name servers a resolver asks."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface that can be used, and what it was configured with."""

    interface: str
    addresses: tuple[str, ...]
    """Each with the length of its prefix, as in `10.0.0.2/24`."""
    gateways: tuple[str, ...] = ()
    """Where packets for other networks go."""
    dns: tuple[str, ...] = ()
    """The name servers."""
    vlan: int | None = None
    """The VLAN's number if the interface is one."""


class SetupFailed(Exception):
    """The network could not be set up; the sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How one interface is to get its addresses.

    Attributes:
        interface: its name.
        addresses: with their prefixes; none asks DHCP and the routers' advertisements.
        gateways: at most one of each family, within reach of an address of it.
        dns: name servers, also beside those that DHCP tells.
        vlan: the tag of the VLAN that the addresses belong to.

    Raises:
        ValueError: it would not work; the sentence says why.
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
        # A scope is free text to Python, and what is written to networkd's files must be none.
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
    """Somebody else configures the links; this tells when one is usable, and asks for another."""

    async def link(self, seconds: float) -> Link:
        """Wait for a link with an address.

        Raises:
            NoNetwork: none came up within ``seconds``; the sentence says what was seen.
        """

    def interfaces(self) -> tuple[str, ...]:
        """Return the interfaces that `configure` may be asked about, by name."""

    async def configure(self, setup: Setup, *, lan_only: bool) -> None:
        """Have ``setup`` hold from now on, until the machine is switched off.

        Where ``lan_only`` is set, no way leads beyond the networks of its addresses.

        Raises:
            SetupFailed: it does not; the sentence says why.
        """
