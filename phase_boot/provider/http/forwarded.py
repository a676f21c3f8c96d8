"""The address of a client behind a reverse proxy, by X-Forwarded-For.

Only proxies that a person names are believed. The field `Forwarded` (RFC 7239) is not read: a proxy
that writes X-Forwarded-For passes a `Forwarded` of its client on as it came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

from aiohttp import web

Network: TypeAlias = IPv4Network | IPv6Network
FORWARDED_FOR: Final = "X-Forwarded-For"
MAX_HOPS: Final = 16
"""Proxies in a row; what stands before them in the field is not read."""


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The networks of the reverse proxies before a provider."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> TrustedProxies:
        """Return the networks that are written as ``ADDRESS/BITS``, or as one address.

        Raises:
            ValueError: one is no network, has bits beyond its prefix, or holds every address.
        """
        networks = tuple(ip_network(text) for text in texts)
        if any(network.prefixlen == 0 for network in networks):
            raise ValueError("it holds every address, so each client could choose its own")
        return cls(networks)

    def client_of(self, request: web.BaseRequest) -> str:
        """Return the address of the client that sent ``request``; empty if there is none.

        Each proxy appends the address that its request came from. So the client is the last
        address in the field that is no trusted proxy, and what stands before it is the client's own
        invention. A text that is no address ends the search at the proxy that wrote it.
        """
        client = request.remote or ""
        if not self._has(client):
            return client
        for hop in reversed(_hops(request.headers.getall(FORWARDED_FOR, ()))):
            address = _address(hop)
            if address is None:
                return client
            client = address
            if not self._has(client):
                return client
        return client

    def _has(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


NO_PROXIES: Final = TrustedProxies()


def _hops(fields: Sequence[str]) -> list[str]:
    return [hop.strip() for field in fields for hop in field.split(",")][-MAX_HOPS:]


def _address(hop: str) -> str | None:
    """Return the address in one part of the field, in its canonical spelling."""
    try:
        return str(ip_address(hop))
    except ValueError:
        return None
