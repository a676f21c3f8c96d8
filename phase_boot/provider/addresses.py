"""Client addresses as units of accounting: IPv4 by /32, IPv6 by /64.

An IPv6 host chooses the lower 64 bits of its address by itself (RFC 7136, RFC 8981), so limits
count its /64. An IPv4-mapped address (RFC 4291 section 2.5.5.2) counts as the IPv4 address.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that limits count as one client network."""
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """The address of a client, and the network that limits count it under."""

    network: str
    host: str


def client_address(address: str) -> ClientAddress:
    """Return the client address that ``address`` spells, with or without an IPv6 zone.

    A text that is not an IP address is `UNKNOWN`, which has limits like any other.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ClientAddress(UNKNOWN, UNKNOWN)
    if isinstance(found, ipaddress.IPv4Address):
        return ClientAddress(str(found), str(found))
    if found.ipv4_mapped is not None:
        return ClientAddress(str(found.ipv4_mapped), str(found.ipv4_mapped))
    plain = ipaddress.IPv6Address(int(found))
    network = ipaddress.IPv6Network((plain, IPV6_PREFIX), strict=False)
    return ClientAddress(str(network), str(plain))
