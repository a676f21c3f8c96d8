"""The rules of Private mode, applied to the values that were read back (docs/adr/0007-modes.md)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from phase_boot.ports.privacy import NOTHING_REQUESTED, Configuration, Evidence, Interface

WAY_OUT: Final = "use another network interface, or choose another mode in the boot menu"
REBOOT: Final = "reboot, and choose another mode if it happens again"
LOCAL: Final = 0x02
MULTICAST: Final = 0x01
"""Bits of the first byte of a hardware address (IEEE 802)."""
HARDWARE: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
GENERATIONS: Final = frozenset({1, 3})
"""IN6_ADDR_GEN_MODE_NONE and _RANDOM; with _EUI64 and _STABLE_PRIVACY addresses outlive a boot."""
QUIET: Final[Mapping[str, str]] = MappingProxyType(
    {"Network.LLMNR": "no", "Network.MulticastDNS": "no"}
)
ANONYMOUS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Network.IPv6LinkLocalAddressGenerationMode": "random",
        "DHCPv4.Anonymize": "yes",
        "DHCPv6.DUIDType": "link-layer",
        "DHCPv6.IAID": "1",
        "DHCPv6.SendHostname": "no",
    }
)
"""Settings that keep the host name and persistent identifiers out of DHCP messages (RFC 7844)."""
ASSOCIATION: Final = 1
"""The IAID, the same on every machine so that it identifies none."""
UNIQUE: Final = "duid-ll:0001"
"""The start of a DUID-LL of an Ethernet address (RFC 8415, section 11.4)."""
ETHERNET: Final = "01"
"""The hardware type before an address in a DHCPv4 client identifier (RFC 2132, section 9.14)."""


def refused_interfaces(evidence: Evidence) -> dict[str, str]:
    """Return the interfaces that stay down in Private, each with the cause."""
    return {each.name: each.refused for each in evidence.interfaces if each.refused is not None}


def identifiers(evidence: Evidence) -> tuple[str, ...]:
    """Return the names of the DHCP identifiers that were read back, each with its interface."""
    return tuple(
        f"{each.interface} {name}"
        for each in evidence.configurations
        for name, value in (
            ("client", each.client),
            ("DUID", each.unique),
            ("IAID", each.association),
        )
        if value is not None
    )


def violations(evidence: Evidence, *, used: str | None = None) -> Iterator[str]:
    """Yield a sentence with its way out for each promise that is not kept.

    Args:
        evidence: the values that were read back.
        used: the interface that the boot uses.
    """
    if not evidence.requested:
        if evidence != NOTHING_REQUESTED:
            yield f"values were read back that no dry run reads; {REBOOT}"
        return
    if used is not None and used not in {each.name for each in evidence.interfaces}:
        yield f"{used} carries this boot and was not read back; {REBOOT}"
    if evidence.compared < 0:
        yield f"the number of compared EFI variables is {evidence.compared}; {REBOOT}"
    yield from _hardware_addresses(evidence, used)
    yield from _interface_identifiers(evidence)
    yield from _configurations(evidence)
    if evidence.host_name != evidence.shipped_name:
        yield f"the host name is not the one that every stick has; {REBOOT}"
    for where in evidence.mounts:
        yield f"a file system of a disk is mounted at {where}; unmount it, then retry"
    for device in evidence.swaps:
        yield f"memory is swapped to {device}; switch that off, then retry"
    for device in evidence.opened:
        yield f"the Cache partition {device} was opened although Private opens none; {REBOOT}"
    if evidence.variables:
        named = ", ".join(evidence.variables[:3])
        yield f"EFI variables were changed during this boot ({named}); {REBOOT}"


def _hardware_addresses(evidence: Evidence, used: str | None) -> Iterator[str]:
    burned = {each.permanent for each in evidence.interfaces if each.permanent}
    for each in evidence.interfaces:
        # Interfaces of other types have no address that leaves the machine, unless they report one.
        concerned = each.ethernet or each.permanent is not None or each.name == used
        wrong = _wrong_address(each, burned) if each.up and concerned else None
        if wrong is not None:
            yield f"{each.name} is up with {wrong}; {WAY_OUT}"


def _wrong_address(each: Interface, burned: set[str]) -> str | None:
    if each.address in burned:
        return "its burned-in hardware address"
    if each.drawn is None:
        return "a hardware address that was not drawn for this boot"
    if each.address != each.drawn or not each.assigned:
        return "another hardware address than the one that was drawn for this boot"
    if not HARDWARE.fullmatch(each.address):
        return "a hardware address that is none of Ethernet"
    if int(each.address[:2], 16) & (LOCAL | MULTICAST) != LOCAL:
        return "a hardware address that is not locally administered"
    return None


def _interface_identifiers(evidence: Evidence) -> Iterator[str]:
    burned = {_modified_eui64(each.permanent) for each in evidence.interfaces if each.permanent}
    for each in evidence.interfaces:
        if any(_low_half(address) in burned for address in each.addresses):
            yield f"{each.name} has an IPv6 address made of a burned-in address; {WAY_OUT}"
        if each.up and each.ethernet and each.generation not in GENERATIONS:
            yield f"{each.name} makes IPv6 addresses that are the same in every boot; {WAY_OUT}"


def _modified_eui64(address: str | None) -> bytes | None:
    """Return the interface identifier of a hardware address (RFC 4291, appendix A)."""
    if address is None or not HARDWARE.fullmatch(address):
        return None
    octets = bytes.fromhex(address.replace(":", ""))
    return bytes([octets[0] ^ LOCAL]) + octets[1:3] + b"\xff\xfe" + octets[3:]


def _low_half(address: str) -> bytes:
    try:
        return ipaddress.IPv6Address(address).packed[8:]
    except ValueError:
        return b""


def _configurations(evidence: Evidence) -> Iterator[str]:
    # An interface that is down, or was unplugged meanwhile, sends nothing.
    interfaces = {each.name: each for each in evidence.interfaces if each.up}
    for each in evidence.configurations:
        interface = interfaces.get(each.interface)
        wrong = _wrong_identifier(each, interface) if interface is not None else None
        if wrong is not None:
            yield f"networkd {wrong} on {each.interface}; {WAY_OUT}"


def _wrong_identifier(each: Configuration, interface: Interface) -> str | None:
    settings = dict(each.settings)
    asks_nobody = settings.get("Network.DHCP", "no") == "no" and (
        settings.get("Network.IPv6AcceptRA") == "no"
    )
    required = QUIET if asks_nobody else {**QUIET, **ANONYMOUS}
    missing = [key for key, value in required.items() if settings.get(key) != value]
    if missing:
        return f"does not apply {missing[0]}={required[missing[0]]}"
    own = interface.address.replace(":", "")
    if each.client is not None and each.client.lower() != ETHERNET + own:
        return "sends a DHCPv4 client identifier that is not of the drawn address"
    if each.unique is not None and each.unique.lower() != UNIQUE + own:
        return "sends a DHCPv6 DUID that is not of the drawn address"
    if each.association not in {None, ASSOCIATION}:
        return "sends a DHCPv6 IAID that is not the same on every machine"
    return None
