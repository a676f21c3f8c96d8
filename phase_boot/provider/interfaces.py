"""Host name and network interfaces of this machine at the time of the call."""

from __future__ import annotations

import ipaddress
import re
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import ifaddr

_LABEL: Final = re.compile(r"[^a-z0-9-]+")


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """An interface with addresses: its name, the kernel's index, IPv4 before IPv6."""

    name: str
    index: int
    addresses: tuple[str, ...]


def find_interfaces(
    *, interface: str | None = None, host: str | None = None
) -> dict[str, NetworkInterface]:
    """Return the interfaces to announce on, by name.

    Args:
        interface: only this one, even if it is the loopback.
        host: only the interface that has this address, with this address alone.
    """
    found = {}
    for adapter in ifaddr.get_adapters():
        name = str(adapter.name)
        addresses = [ip.ip[0] if isinstance(ip.ip, tuple) else ip.ip for ip in adapter.ips]
        if host is not None:
            addresses = [address for address in addresses if _same_address(address, host)]
        elif interface is None:
            addresses = [] if _is_bridged(name) else [a for a in addresses if not _is_loopback(a)]
        if addresses and adapter.index is not None and interface in {None, name}:
            ordered = sorted(addresses, key=lambda a: (":" in a, a.startswith("fe80"), a))
            found[name] = NetworkInterface(name, adapter.index, tuple(ordered))
    return found


def host_label() -> str:
    """Return this machine's name as the first label of ``<name>.local``."""
    name = _LABEL.sub("-", socket.gethostname().split(".")[0].lower()).strip("-")[:63]
    if name in {"", "localhost"}:
        # A default name is not unique on the network.
        return unique_label("phase-boot")
    return name


def unique_label(name: str) -> str:
    """Return a label that starts like ``name`` and that no other machine has."""
    return f"{name[:50]}-{uuid.getnode():012x}"


def local_addresses() -> frozenset[str]:
    """Return all addresses of this machine."""
    adapters = ifaddr.get_adapters()
    return frozenset(
        ip.ip[0] if isinstance(ip.ip, tuple) else ip.ip
        for adapter in adapters
        for ip in adapter.ips
    )


def _same_address(address: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(address) == ipaddress.ip_address(other)
    except ValueError:
        return False


def _is_bridged(name: str) -> bool:
    """Return whether this is a bridge port; the bridge announces for its ports."""
    return Path("/sys/class/net", name, "brport").exists()


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
