"""Whether a host is at one of this machine's addresses, in whatever form it is written."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address


@lru_cache(maxsize=512)
def connected_address(host: str) -> str:
    """Return the address that the kernel connects to for ``host``, in one form and without a zone.

    For an IPv4-mapped address it connects by IPv4 (RFC 4291, section 2.5.5.2). Addresses that embed
    IPv4 in another way lead to a translator or a tunnel, and stay as they are. A name is returned
    as it is.
    """
    try:
        address = IPv6Address(host.partition("%")[0])
    except AddressValueError:
        return host
    return str(address.ipv4_mapped or address)


def is_one_of(host: str, addresses: Collection[str]) -> bool:
    """Return whether the kernel connects to one of ``addresses`` for ``host``."""
    return connected_address(host) in map(connected_address, addresses)
