"""What Private and Local requested of the kernel, networkd and the firmware, as it is now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface, as the kernel reports it.

    Attributes:
        name: its current name.
        address: its hardware address, lower case with colons; empty if it has none.
        permanent: the burned-in address, if the driver reports one (IFLA_PERM_ADDRESS).
        drawn: the address that was drawn for it, if the kernel showed it then.
        assigned: whether the kernel calls the address set (NET_ADDR_SET, NET_ADDR_STOLEN).
        refused: why no address was drawn for it, if one was tried.
        up: whether it is up (IFF_UP).
        ethernet: whether it is of the only type that is set up (ARPHRD_ETHER).
        generation: how the kernel makes its IPv6 link-local address (IN6_ADDR_GEN_MODE_*).
        addresses: its IPv6 addresses.
    """

    name: str
    address: str = ""
    permanent: str | None = None
    drawn: str | None = None
    assigned: bool = False
    refused: str | None = None
    up: bool = False
    ethernet: bool = True
    generation: int = 1
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """How networkd has set an interface up, as it reports it.

    Attributes:
        interface: its name.
        settings: `Section.Key` and value of what networkd applied, in the order of its files.
        client: the DHCPv4 client identifier in hexadecimal, once there is a lease.
        unique: the DHCPv6 DUID, as networkd spells it, once there is a client.
        association: the DHCPv6 IAID, once there is a client.
    """

    interface: str
    settings: tuple[tuple[str, str], ...] = ()
    client: str | None = None
    unique: str | None = None
    association: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that is read back.

    Attributes:
        interfaces: every network interface but the loopback.
        configurations: of the interfaces that networkd has set up.
        host_name: the kernel's node name.
        shipped_name: the host name in the image, the same on every machine.
        mounts: where file systems of a disk are mounted.
        swaps: the devices and files that are swapped to.
        opened: the Cache partitions that were read or written, of any disk.
        variables: the EFI variables that differ from those at the start.
        compared: how many EFI variables were compared.
        requested: False where nothing was requested, because the machine is set up by its owner
            and nothing is started (a dry run).
    """

    interfaces: tuple[Interface, ...] = ()
    configurations: tuple[Configuration, ...] = ()
    host_name: str = ""
    shipped_name: str = ""
    mounts: tuple[str, ...] = ()
    swaps: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    compared: int = 0
    requested: bool = True


class Unreadable(Exception):
    """Something cannot be read back; the sentence says what."""


class Privacy(Protocol):
    """Reads back what a mode requested. It changes nothing and judges nothing."""

    async def begin(self) -> None:
        """Remember the firmware's variables as they are; a later call keeps the first ones.

        Raises:
            Unreadable: they cannot be read.
        """

    async def evidence(self) -> Evidence:
        """Return what the kernel, networkd and the firmware report now.

        Raises:
            Unreadable: a part of it cannot be read.
        """

    async def routes(self) -> tuple[str, ...]:
        """Return the interfaces with a route beyond their own networks, where Local requested none.

        Raises:
            Unreadable: the routes cannot be read.
        """
