"""URLs: the one parser for everything that names a server (RFC 3986).

Mirrors, gateways, typed URLs, policies, announcements and redirects are read here, by the publisher
and by the machine alike, so nothing is published that a machine refuses. The grammar is stricter
than that of `urllib.parse`, which repairs what it is given, and takes half as long to import.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Self

MAX_URL: Final = 4096
"""Characters of a URL; signed URLs of object stores have about 2000."""
MAX_BASE: Final = 512
"""Characters of a base URL in a document or a policy."""
MAX_NAME: Final = 253
"""Characters of a host name (RFC 1035 section 2.3.4)."""
MIN_USER_PORT: Final = 1024
"""Lower ports are those of system services (RFC 6335); no peer listens there."""
MAX_PORT: Final = 65535
PORTS: Final = {"http": 80, "https": 443}
"""The accepted schemes with their default ports."""

_SHAPE: Final = re.compile(r"([^:/?#]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_START: Final = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?]*")
"""Scheme and authority of a reference, both optional."""
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_ZONE: Final = re.compile(r"[A-Za-z0-9._-]{1,15}")
"""Name of a Linux network interface (IFNAMSIZ)."""
_ENCODED_WORD: Final = "xn--"
_LOOPBACK: Final = 1
_LAST_IPV4: Final = 2**32 - 1
_TRANSLATED: Final = (IPv6Address("64:ff9b::"), 96)
"""Prefix of IPv6 addresses that embed an IPv4 address (RFC 6052)."""


class BadUrl(ValueError):
    """The text is not accepted as a URL; the message has the reason and the way out."""


class Scope(StrEnum):
    """The scope of an address, by the address alone."""

    NAME = auto()
    """A host name, whose scope is known after its resolution."""
    OWN = auto()
    """This machine: loopback and the unspecified address."""
    LINK = auto()
    """Valid on one link only (RFC 3927, RFC 4291)."""
    PRIVATE = auto()
    """Not routed on the Internet (RFC 1918, RFC 4193, RFC 6598)."""
    PUBLIC = auto()
    RESERVED = auto()
    """Multicast, broadcast or reserved: no address of a server."""


DISTANCE: Final = {Scope.OWN: 0, Scope.LINK: 1, Scope.PRIVATE: 2, Scope.PUBLIC: 3}
"""How far away a server is: one must not lead to a nearer one by a redirect or by its answers."""


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in its canonical form; ``str`` writes it.

    Attributes:
        scheme: `http` or `https`.
        host: a name in lower case without a final dot, an IPv4 address, or an IPv6 address
            without brackets, with `%` and an interface where it has a zone.
        port: 1 to 65535.
        path: empty, or from its first slash on, percent-encoded as it was written.
        query: what follows the question mark, percent-encoded as it was written.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    query: str | None = None

    @classmethod
    def parse(cls, text: str, *, max_length: int = MAX_URL) -> Self:
        """Read a URL of at most ``max_length`` characters.

        Raises:
            BadUrl: it is no URL, or has a user name, a fragment, or another scheme than `http` and
                `https`.
        """
        _check_characters(text, max_length)
        found = _SHAPE.fullmatch(text)
        if found is None or found[1].lower() not in PORTS:
            raise BadUrl("it does not start with http:// or https://; write one of them first")
        scheme, (authority, path, query, fragment) = found[1].lower(), found.groups()[1:]
        if fragment is not None:
            raise BadUrl("it has a fragment; leave the # and what follows it out")
        if "@" in authority:
            raise BadUrl("it has a user name; leave the @ and what stands before it out")
        host, port = _host_and_port(authority, PORTS[scheme])
        _check_escapes(path + (query or ""))
        return cls(scheme, host, port, path, query)

    @property
    def authority(self) -> str:
        """Host and port as they are written in a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454), which identify the server."""
        return f"{self.scheme}://{self.authority}"

    @property
    def scope(self) -> Scope:
        """The scope of its host."""
        return scope_of(self.host)

    def __str__(self) -> str:
        query = "" if self.query is None else f"?{self.query}"
        return f"{self.origin}{self.path}{query}"

    def below(self, path: str) -> Url:
        """Return the URL of the file ``path`` below this one, whose query is kept.

        ``path`` is trusted: it starts without a slash, and may have a query of its own.
        """
        name, _, query = path.partition("?")
        queries = "&".join(part for part in (query, self.query) if part)
        return replace(self, path=f"{self.path.rstrip('/')}/{name}", query=queries or None)

    def base(self, tail: str) -> Url | None:
        """Return the URL below which the file ``tail`` is this one; None if it is not."""
        end = f"/{tail}"
        if not self.path.endswith(end):
            return None
        return replace(self, path=self.path.removesuffix(end).rstrip("/"))

    def join(self, reference: str) -> Url:
        """Resolve the `Location` header of a response from this URL (RFC 3986 section 5.2).

        Characters that do not belong into a URL are percent-encoded, as browsers do; a fragment is
        left out.

        Raises:
            BadUrl: it is no URL that may be requested.
        """
        text = _escaped(reference.strip(" \t").partition("#")[0])
        if _SCHEME.match(text):
            return Url.parse(text)
        if text.startswith("//"):
            return Url.parse(f"{self.scheme}:{text}")
        path, mark, query = text.partition("?")
        if not path:
            path, query = self.path, query if mark else self.query or ""
            mark = mark or ("?" if self.query is not None else "")
        elif not path.startswith("/"):
            path = f"{self.path.rpartition('/')[0]}/{path}"
        return Url.parse(f"{self.origin}{_without_dots(path)}{mark}{query}")


def base_url(text: str) -> str:
    """Return the base URL of a mirror or gateway in its canonical form, without a final slash.

    Raises:
        BadUrl: it is no URL, longer than ``MAX_BASE``, or has a query.
    """
    url = Url.parse(text, max_length=MAX_BASE)
    if url.query is not None:
        raise BadUrl("it has a query; a base URL ends before the question mark")
    return str(replace(url, path=url.path.rstrip("/")))


def bases(base: str) -> tuple[str, ...]:
    """Return the base URLs to try for the files below ``base``: with and without its query.

    The query of a signed URL grants access to one file at some servers, and to all files of a
    folder at others.
    """
    url = Url.parse(base)
    return (base,) if url.query is None else (base, str(replace(url, query=None)))


def is_url(text: str) -> bool:
    """Return whether ``text`` is a URL."""
    try:
        Url.parse(text)
    except BadUrl:
        return False
    return True


def announced(text: str, *, max_length: int = MAX_URL) -> Url:
    """Read a URL that another machine on this network announced.

    Raises:
        BadUrl: it is no URL, or its address is of this machine, of one link only, or of no server.
    """
    url = Url.parse(text, max_length=max_length)
    if url.scope in {Scope.OWN, Scope.LINK, Scope.RESERVED}:
        raise BadUrl(f"{url.host} is no address that another machine may send us to")
    return url


def below(base: str, path: str) -> str:
    """Return the URL of the file ``path`` below ``base``; see `Url.below`.

    Raises:
        BadUrl: ``base`` is no URL.
    """
    return str(_parsed(base).below(path))


@lru_cache(maxsize=64)
def _parsed(base: str) -> Url:
    return Url.parse(base)


@lru_cache(maxsize=512)
def scope_of(host: str) -> Scope:
    """Return the scope of ``host``: a name, or an address without brackets."""
    try:
        return _scope(IPv4Address(host))
    except AddressValueError:
        pass
    try:
        return _scope(_embedded(IPv6Address(host.partition("%")[0])))
    except AddressValueError:
        own = host == "localhost" or host.endswith(".localhost")
        return Scope.OWN if own else Scope.NAME


def _scope(address: IPv4Address | IPv6Address) -> Scope:
    if address.is_loopback or address.is_unspecified:
        return Scope.OWN
    if address.is_link_local:
        return Scope.LINK
    if address.is_multicast or (address.is_reserved and not address.is_global):
        return Scope.RESERVED
    return Scope.PUBLIC if address.is_global else Scope.PRIVATE


def _embedded(address: IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that ``address`` embeds, or ``address`` itself."""
    if _LOOPBACK < int(address) <= _LAST_IPV4:
        # An IPv4-compatible address, which nothing uses any more (RFC 4291, section 2.5.5.1).
        return IPv4Address(int(address))
    network, length = _TRANSLATED
    if int(address) >> (128 - length) == int(network) >> (128 - length):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _check_characters(text: str, max_length: int) -> None:
    if not text:
        raise BadUrl("it is empty; write http:// or https:// and a host")
    if len(text) > max_length:
        raise BadUrl(f"it has {len(text)} characters and may have {max_length}; use a shorter one")
    if not text.isascii():
        raise BadUrl(
            "it holds a character beyond ASCII; write a host in its xn-- form and a path "
            "percent-encoded"
        )
    if any(char <= " " or char == "\x7f" for char in text):
        raise BadUrl("it holds a blank or a control character; write a blank as %20")
    if "\\" in text:
        raise BadUrl("it holds a backslash; write a slash, or %5C for a backslash in a name")


def _check_escapes(text: str) -> None:
    found = _ILLEGAL.search(text)
    if found is not None:
        raise BadUrl(f"it holds the character {found[0]}; write it as %{ord(found[0]):02X}")
    if _ESCAPE.search(text):
        raise BadUrl("a % is not followed by two hexadecimal digits; write a bare % as %25")


def _host_and_port(authority: str, default: int) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise BadUrl("its IPv6 address does not end with ]; write [address] or [address]:port")
        return _address(host), _port(rest, default)
    host, colon, port = authority.partition(":")
    return _name(host.lower()), _port(colon + port, default)


def _port(text: str, default: int) -> int:
    """Return the port in ``text``, which is empty or starts with a colon."""
    if not text:
        return default
    if not _PORT.fullmatch(text, 1) or int(text[1:]) > MAX_PORT:
        raise BadUrl(
            f"its port is {text[1:20] or 'missing'}; write a number from 1 to {MAX_PORT} after "
            "the colon, and an IPv6 address in [ ]"
        )
    return int(text[1:])


def _address(text: str) -> str:
    host, mark, zone = text.partition("%")
    try:
        address = IPv6Address(host)
    except AddressValueError:
        raise BadUrl(
            "what stands in [ ] is no IPv6 address; write one like [2001:db8::7]"
        ) from None
    if not mark:
        return str(address)
    # RFC 6874 writes the percent sign before a zone as %25.
    zone = zone.removeprefix("25") if zone[2:] else zone
    if not _ZONE.fullmatch(zone) or not address.is_link_local:
        raise BadUrl("only a link-local address has a zone; write one like [fe80::7%eth0]")
    return f"{address}%{zone}"


def _name(text: str) -> str:
    """Return a host name, or an IPv4 address, in its canonical form."""
    host = text.removesuffix(".")
    if not host:
        raise BadUrl("it names no host; write one after http:// or https://")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Other parsers read 0x7f.1 as an address, which a person would not recognize.
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise BadUrl(f"{host[:40]} is no IPv4 address; write four numbers up to 255") from None
    if len(host) > MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise BadUrl("its host is no name; a name has parts of 1 to 63 letters, digits and hyphens")
    for label in labels:
        _check_encoded(label)
    return host


def _check_encoded(label: str) -> None:
    """Refuse a label of a name with the prefix of RFC 5891 and an invalid encoding."""
    if not label.startswith(_ENCODED_WORD):
        return
    try:
        said = label.removeprefix(_ENCODED_WORD).encode().decode("punycode")
    except (ValueError, OverflowError):
        said = ""
    if said.isascii():
        raise BadUrl(f"{label[:40]} is no encoded name; write the name as its registry does")


def _escaped(text: str) -> str:
    """Return ``text`` with the characters percent-encoded that its path and query may not hold."""
    if any(char < " " or char == "\x7f" for char in text):
        raise BadUrl("it holds a control character")
    start = _START.match(text)
    head = start[0] if start else ""
    # Bytes of a header that are not UTF-8 arrive as half a surrogate pair.
    rest = "".join(
        "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
        if _ILLEGAL.match(char)
        else char
        for char in text[len(head) :]
    )
    return head + _ESCAPE.sub("%25", rest)


def _without_dots(path: str) -> str:
    """Return ``path`` without the parts `.` and `..` (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        if part == ".." and kept:
            kept.pop()
        elif part not in {".", ".."}:
            kept.append(part)
    if parts and parts[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
