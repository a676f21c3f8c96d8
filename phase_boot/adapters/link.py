"""Waiting for an address: whoever configures the links (networkd, NetworkManager, a person)."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator
from typing import Final

import ifaddr

from phase_boot.machine.errors import NoNetwork
from phase_boot.ports.network import Link

POLL_SECONDS: Final = 0.05


class AddressWatch:
    """Implements `ports.network.Network` by looking at the addresses of all interfaces."""

    def __init__(self, *, loopback: bool = False) -> None:
        """Count the loopback interface as a link too where ``loopback`` says so."""
        self._loopback = loopback

    async def link(self, seconds: float) -> Link:
        """Return the first interface that has an address good for more than its own wire."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            links = list(self._links())
            if links:
                return min(links, key=_is_loopback)
            if asyncio.get_running_loop().time() >= deadline:
                raise NoNetwork(
                    f"no link got an address within {seconds:g} seconds ({_seen()}); "
                    "check the cable and that this network has DHCP, then retry"
                )
            await asyncio.sleep(POLL_SECONDS)

    def _links(self) -> Iterator[Link]:
        for adapter in ifaddr.get_adapters():
            texts = (ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips)
            usable = tuple(text for text in texts if self._usable(text))
            if usable:
                yield Link(adapter.nice_name, usable)

    def _usable(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        if address.is_loopback:
            return self._loopback
        return not address.is_link_local


def _is_loopback(link: Link) -> bool:
    return ipaddress.ip_address(link.addresses[0]).is_loopback


def _seen() -> str:
    names = [adapter.nice_name for adapter in ifaddr.get_adapters(include_unconfigured=True)]
    others = sorted(name for name in names if name != "lo")
    return "interfaces: " + ", ".join(others) if others else "no network interface was found"
