"""Multiaddrs, the addresses of libp2p, in their text and binary forms (multiformats/multiaddr).

Only what leads to a peer over TCP, or to an HTTP server, is read: other transports are of no use
here, so an address with one is refused as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto, unique
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Self

from phase_boot.content import varint
from phase_boot.content.peer_id import PeerId
from phase_boot.url import MAX_NAME, MAX_PORT, BadUrl, Url

MAX_BYTES: Final = 256
"""Bytes of the longest binary form."""
MAX_TEXT: Final = 512
"""Characters of the longest text form."""
MAX_PARTS: Final = 8


@unique
class _Kind(Enum):
    IP4 = auto()
    IP6 = auto()
    PORT = auto()
    NAME = auto()
    PEER = auto()
    BARE = auto()


_PROTOCOLS: Final = {
    "ip4": (0x04, _Kind.IP4),
    "ip6": (0x29, _Kind.IP6),
    "dns": (0x35, _Kind.NAME),
    "dns4": (0x36, _Kind.NAME),
    "dns6": (0x37, _Kind.NAME),
    "tcp": (0x06, _Kind.PORT),
    "p2p": (0x01A5, _Kind.PEER),
    "tls": (0x01C0, _Kind.BARE),
    "http": (0x01E0, _Kind.BARE),
    "https": (0x01BB, _Kind.BARE),
}
"""The protocols that are read, with their numbers in the table of multicodec."""
_BY_CODE: Final = {code: (name, kind) for name, (code, kind) in _PROTOCOLS.items()}
_FIXED: Final = {_Kind.IP4: 4, _Kind.IP6: 16, _Kind.PORT: 2, _Kind.BARE: 0}
"""Bytes of a value of each kind; the others have a length before them."""
_HOSTS: Final = ("ip4", "ip6", "dns", "dns4", "dns6")


@dataclass(frozen=True, slots=True)
class Multiaddr:
    """An address: protocols from the outermost on, each with its value; ``str`` writes it."""

    parts: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form.

        Raises:
            ValueError: it is no multiaddr, or has a protocol that is not read here.
        """
        if len(text) > MAX_TEXT or not text.startswith("/"):
            raise ValueError(f"an address starts with / and has at most {MAX_TEXT} characters")
        words = iter(text[1:].split("/"))
        parts = []
        for name in words:
            if name not in _PROTOCOLS:
                raise ValueError(f"/{name[:20]} is no protocol of {', '.join(_PROTOCOLS)}")
            kind = _PROTOCOLS[name][1]
            value = "" if kind is _Kind.BARE else next(words, "")
            parts.append((name, _canonical(name, kind, value)))
        return cls._of(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the binary form, as peers send it; raise ValueError as `parse` does."""
        if len(data) > MAX_BYTES:
            raise ValueError(f"an address has at most {MAX_BYTES} bytes")
        at, parts = 0, []
        try:
            while at < len(data):
                code, at = varint.decode(data, at)
                if code not in _BY_CODE:
                    raise ValueError(f"protocol {code:#x} is not read here")
                name, kind = _BY_CODE[code]
                length = _FIXED.get(kind)
                if length is None:
                    length, at = varint.decode(data, at)
                value, at = data[at : at + length], at + length
                parts.append((name, _canonical(name, kind, _text(kind, value))))
        except EOFError as error:
            raise ValueError(str(error)) from None
        if at > len(data):
            raise ValueError("the data ends inside a value")
        return cls._of(parts)

    @classmethod
    def _of(cls, parts: list[tuple[str, str]]) -> Self:
        if not 0 < len(parts) <= MAX_PARTS:
            raise ValueError(f"an address has 1 to {MAX_PARTS} parts")
        return cls(tuple(parts))

    @property
    def peer(self) -> PeerId | None:
        """The peer that the address ends with."""
        name, value = self.parts[-1]
        return PeerId.parse(value) if name == "p2p" else None

    @property
    def tcp(self) -> tuple[str, int] | None:
        """Host and port, if a peer listens there by TCP without another layer."""
        names = [name for name, _ in self.parts if name != "p2p"]
        if len(names) != 2 or names[0] not in _HOSTS or names[1] != "tcp":  # noqa: PLR2004 - the two of the line
            return None
        return self.parts[0][1], int(self.parts[1][1])

    def __str__(self) -> str:
        return "".join(f"/{name}/{value}" if value else f"/{name}" for name, value in self.parts)


def _text(kind: _Kind, value: bytes) -> str:
    """Return the text of a binary value."""
    match kind:
        case _Kind.IP4:
            return str(IPv4Address(value))
        case _Kind.IP6:
            return str(IPv6Address(value))
        case _Kind.PORT:
            return str(int.from_bytes(value))
        case _Kind.PEER:
            return str(PeerId(value))
        case _:
            return value.decode("ascii")


def _canonical(name: str, kind: _Kind, value: str) -> str:
    """Return ``value`` in its one spelling; raise ValueError if it is none of its protocol."""
    try:
        match kind:
            case _Kind.IP4:
                return str(IPv4Address(value))
            case _Kind.IP6:
                return str(IPv6Address(value))
            case _Kind.PORT:
                return _port(value)
            case _Kind.NAME:
                return _name(value)
            case _Kind.PEER:
                return str(PeerId.parse(value))
            case _Kind.BARE:
                return ""
    except (AddressValueError, BadUrl) as error:
        raise ValueError(f"/{name}/{value[:60]!r}: {error}") from None


def _port(value: str) -> str:
    if not (value.isascii() and value.isdigit()) or not 0 < int(value[:6]) <= MAX_PORT:
        raise ValueError(f"{value[:20]!r} is no port; write a number from 1 to {MAX_PORT}")
    return str(int(value[:6]))


def _name(value: str) -> str:
    """Return a host name, by the rules for the host of a URL."""
    if len(value) > MAX_NAME or not value.isascii() or set(value) & set("/?#@:[]"):
        raise ValueError(f"{value[:60]!r} is no host name")
    return Url.parse(f"http://{value}").host
