"""Reads interfaces from rtnetlink and sysfs, with their random hardware addresses.

image/base/root/usr/lib/phase-boot/private-address.sh draws these addresses and records them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.adapters.net.netlink import MAX_DATAGRAM
from phase_boot.ports.privacy import Interface, Unreadable

RECORDS: Final = "run/phase-boot/addresses"
MAX_BYTES: Final = 4096
"""Bytes that are read of one file, at most."""
MAX_INTERFACES: Final = 4096
SECONDS: Final = 5.0
"""Time limit for each netlink reply."""
ATTEMPTS: Final = 5
"""Attempts at a dump that changes interrupt (NLM_F_DUMP_INTR)."""
ETHERNET: Final = 1
"""ARPHRD_ETHER."""
ASSIGNED: Final = frozenset({2, 3})
"""NET_ADDR_STOLEN, copied from the lower interface, and NET_ADDR_SET."""
UP: Final = 1
"""IFF_UP."""
UNKNOWN: Final = -1
"""Stands for a number that the kernel does not report."""
_LOOPBACK: Final = 0x8
_NEW_LINK, _GET_LINK, _ERROR, _DONE = 16, 18, 2, 3
_REQUEST_DUMP: Final = 0x301
_INTERRUPTED: Final = 0x10
_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_ADDRESS, _NAME, _PERMANENT = 1, 3, 54


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An interface in a message RTM_NEWLINK of rtnetlink(7)."""

    index: int
    name: str
    type: int
    flags: int
    address: str = ""
    permanent: str | None = None


def devices() -> tuple[Device, ...]:
    """Return all interfaces of this network namespace.

    Raises:
        Unreadable: the kernel gives no complete reply.
    """
    try:
        for _ in range(ATTEMPTS):
            with contextlib.suppress(_Interrupted):
                return tuple(_dumped())
    except (OSError, struct.error, ValueError) as error:
        raise Unreadable(f"the kernel does not list its network interfaces: {error}") from error
    raise Unreadable("the network interfaces change faster than they can be listed")


class _Interrupted(Exception):
    """The interfaces changed during the dump."""


def _dumped() -> Iterator[Device]:
    request = _HEADER.pack(_HEADER.size + _LINK.size, _GET_LINK, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
        channel.settimeout(SECONDS)
        channel.sendto(request + _LINK.pack(0, 0, 0, 0, 0), (0, 0))
        for _ in range(MAX_INTERFACES):
            answer, (sender, _groups) = channel.recvfrom(MAX_DATAGRAM)
            if sender != 0:
                # Netlink port 0 belongs to the kernel.
                continue
            for kind, body in messages(answer):
                if kind == _DONE:
                    return
                if kind == _NEW_LINK:
                    yield device(body)
    raise ValueError(f"more than {MAX_INTERFACES} answers")


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each message in an rtnetlink datagram."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, flags, _, _ = _HEADER.unpack_from(datagram, at)
        if not _HEADER.size <= length <= len(datagram) - at:
            raise ValueError("a message of netlink has a wrong length")
        if flags & _INTERRUPTED:
            raise _Interrupted
        if kind == _ERROR:
            raise ValueError("netlink answers with an error")
        yield kind, datagram[at + _HEADER.size : at + length]
        at += _aligned(length)


def device(body: bytes) -> Device:
    """Parse the body of a message RTM_NEWLINK."""
    _, kind, index, flags, _ = _LINK.unpack_from(body)
    found = dict(_attributes(body[_LINK.size :]))
    return Device(
        index=index,
        name=found.get(_NAME, b"").rstrip(b"\0").decode("ascii", "backslashreplace"),
        type=kind,
        flags=flags,
        address=found.get(_ADDRESS, b"").hex(":"),
        permanent=found[_PERMANENT].hex(":") if _PERMANENT in found else None,
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= len(data) - at:
            raise ValueError("an attribute of netlink has a wrong length")
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


class Interfaces:
    """Facts about interfaces that Private mode checks.

    Args:
        root: where /sys, /proc and /run are, for tests.
        listed: returns the interfaces that rtnetlink reports.
    """

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        listed: Callable[[], tuple[Device, ...]] = devices,
    ) -> None:
        self._root = root
        self._listed = listed

    def found(self) -> tuple[tuple[int, Interface], ...]:
        """Return all interfaces except loopback, with their indexes.

        Raises:
            Unreadable: the kernel does not list them.
        """
        local = self._local_addresses()
        return tuple(
            (each.index, self._interface(each, local))
            for each in self._listed()
            if not each.flags & _LOOPBACK
        )

    def permitted(self, name: str) -> bool:
        """Return whether the interface ``name`` may be used: in Private only with a random address.

        Records of random addresses exist in Private mode only.
        """
        if not (self._root / RECORDS).is_dir():
            return True
        index = _number(self._text(f"sys/class/net/{name}/ifindex"))
        address = self._text(f"sys/class/net/{name}/address").strip()
        return bool(address) and self._record(index)[0] == address

    def _interface(self, each: Device, local: Mapping[str, list[str]]) -> Interface:
        drawn, refused = self._record(each.index)
        assigned = _number(self._text(f"sys/class/net/{each.name}/addr_assign_type"))
        generation = self._text(f"proc/sys/net/ipv6/conf/{each.name}/addr_gen_mode")
        return Interface(
            name=each.name,
            address=each.address,
            permanent=each.permanent,
            drawn=drawn,
            assigned=assigned in ASSIGNED,
            refused=refused,
            up=bool(each.flags & UP),
            ethernet=each.type == ETHERNET,
            # Without IPv6 the kernel generates no addresses.
            generation=_number(generation) if generation or self._has_ipv6() else 1,
            addresses=tuple(local.get(each.name, ())),
        )

    def _has_ipv6(self) -> bool:
        return (self._root / "proc/sys/net/ipv6/conf").is_dir()

    def _record(self, index: int) -> tuple[str | None, str | None]:
        """Return the random address and the failure; both are empty before the attempt."""
        lines = self._text(f"{RECORDS}/{index}").splitlines()
        if not lines:
            return None, None
        if lines[0]:
            return lines[0], None
        return None, (lines[1:] or [""])[0] or "the cause is not known"

    def _local_addresses(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        try:
            rows = (self._root / "proc/net/if_inet6").read_text().splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Unreadable(f"the IPv6 addresses cannot be read: {error.strerror}") from error
        for row in rows:
            # Address, index, prefix length, scope, flags, interface.
            words = row.split()
            address = ipaddress.IPv6Address(bytes.fromhex(words[0]))
            found.setdefault(words[-1], []).append(str(address))
        return found

    def _text(self, name: str) -> str:
        try:
            with (self._root / name).open("rb") as file:
                return file.read(MAX_BYTES).decode("ascii", "backslashreplace")
        except OSError:
            return ""


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else UNKNOWN
