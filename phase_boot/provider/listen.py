"""The sockets that a provider listens on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Final

from phase_boot.provider.errors import ProvideError

BACKLOG: Final = 256
DEAF_MILLISECONDS: Final = 60_000
"""After so long the kernel gives a peer up that takes no byte of what was sent to it."""
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_Place = tuple[socket.AddressFamily, tuple[str | int, ...]]


def listen(*, port: int, host: str | None, interface: str | None) -> list[socket.socket]:
    """Return listening sockets of one port: on ``host``, or on all addresses, IPv4 and IPv6.

    Port 0 takes a free one. With ``interface`` only what arrives there is answered, whatever
    addresses it has or gets.

    Raises:
        ProvideError: they could not be opened.
    """
    opened = reserve(port=port, host=host, interface=interface)
    for one in opened:
        one.listen(BACKLOG)
    return opened


def reserve(
    *, port: int = 0, host: str | None = None, interface: str | None = None
) -> list[socket.socket]:
    """Return sockets as `listen` does, of which none listens yet: who calls is refused.

    Raises:
        ProvideError: they could not be opened.
    """
    opened: list[socket.socket] = []
    try:
        for family, (address, _, *scope) in _places(host):
            try:
                opened.append(_bound(family, (address, port, *scope), interface))
            except OSError as error:
                if host is not None or not opened or error.errno not in _NO_IPV6:
                    raise
                continue
            port = opened[0].getsockname()[1]
    except OSError as error:
        for one in opened:
            one.close()
        where = "".join(f" on {place}" for place in (host, interface) if place)
        raise ProvideError(
            f"Port {port} cannot be opened{where} ({error.strerror}): "
            "choose another with --port, or another --host or --interface."
        ) from error
    return opened


def _places(host: str | None) -> Iterator[_Place]:
    if host is None:
        yield socket.AF_INET, ("0.0.0.0", 0)  # noqa: S104 - a server for the whole LAN
        yield socket.AF_INET6, ("::", 0)
        return
    for family, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        yield family, (str(address[0]), 0, *address[2:])


def _bound(
    family: socket.AddressFamily, address: tuple[str | int, ...], interface: str | None
) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAF_MILLISECONDS)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if interface is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        one.bind(address)
    except BaseException:
        one.close()
        raise
    return one
