"""Port of the read-back: what Private and Local requested, as the system reports it now.

A request to the kernel, networkd or the firmware may have no effect. Only a value that was read
back proves one, and `machine.read_back` judges it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface, as the kernel reports it.

    Attributes:
        name: its current name.
        address: its hardware address, lower case with colons; empty if it has none.
        permanent: the burned-in address, if the driver reports one (IFLA_PERM_ADDRESS).
        drawn: the random address that was set for it, if the kernel confirmed it then.
        assigned: whether the kernel calls the address set (NET_ADDR_SET, NET_ADDR_STOLEN).
        refused: the reason for which no random address could be set; None if one was, or none was
            tried.
        up: whether it is up (IFF_UP).
        ethernet: whether it is of the only type that is configured (ARPHRD_ETHER).
        generation: how the kernel generates its IPv6 link-local address (IN6_ADDR_GEN_MODE_*).
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
    """The configuration of an interface, as networkd reports it.

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
    """All values that are read back.

    Attributes:
        interfaces: every network interface but the loopback.
        configurations: one for each interface that networkd has configured.
        host_name: the kernel's node name.
        shipped_name: the host name in the image, the same on every machine.
        mounts: mount points of file systems on a disk.
        swaps: the devices and files used for swapping.
        opened: the Cache partitions, on any disk, that were read or written.
        variables: the EFI variables that differ from those at the start.
        compared: how many EFI variables were compared.
        requested: False in a dry run, which requests nothing: another system has configured the
            machine, and nothing is started. Its evidence is `NOTHING_REQUESTED`.
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


NOTHING_REQUESTED: Final = Evidence(requested=False)
"""The evidence of a dry run, which reads nothing back."""


class Unreadable(Exception):
    """A value cannot be read back; the text names it."""


class Privacy(Protocol):
    """Reads back what a mode requested. It changes nothing and judges nothing."""

    async def begin(self) -> None:
        """Record the firmware's variables; a later call keeps the first record.

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
