"""Opening the listening sockets of a provider."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Final

from phase_boot.provider.errors import ProvideError

BACKLOG: Final = 256
TCP_USER_TIMEOUT_MS: Final = 60_000
"""Time after which the kernel drops a connection whose sent data is not acknowledged."""
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
_Address = tuple[socket.AddressFamily, tuple[str | int, ...]]


def listen(*, port: int, host: str | None, interface: str | None) -> list[socket.socket]:
    """Return listening sockets of one port: on ``host``, or on all addresses, IPv4 and IPv6.

    Port 0 takes a free one. With ``interface``, only packets that arrive on it are accepted,
    whatever its addresses are (SO_BINDTODEVICE).

    Raises:
        ProvideError: a socket cannot be opened.
    """
    sockets = bind(port=port, host=host, interface=interface)
    for sock in sockets:
        sock.listen(BACKLOG)
    return sockets


def bind(
    *, port: int = 0, host: str | None = None, interface: str | None = None
) -> list[socket.socket]:
    """Return sockets as `listen` does, bound but not listening: connections are refused.

    Raises:
        ProvideError: a socket cannot be opened.
    """
    sockets: list[socket.socket] = []
    try:
        for family, (address, _, *scope) in _addresses(host):
            try:
                sockets.append(_bind_one(family, (address, port, *scope), interface))
            except OSError as error:
                if host is not None or not sockets or error.errno not in _NO_IPV6:
                    raise
                continue
            port = sockets[0].getsockname()[1]
    except OSError as error:
        for sock in sockets:
            sock.close()
        where = "".join(f" on {place}" for place in (host, interface) if place)
        raise ProvideError(
            f"Port {port} cannot be opened{where} ({error.strerror}): "
            "choose another with --port, or another --host or --interface."
        ) from error
    return sockets


def _addresses(host: str | None) -> Iterator[_Address]:
    if host is None:
        yield socket.AF_INET, ("0.0.0.0", 0)  # noqa: S104 - a server for the whole LAN
        yield socket.AF_INET6, ("::", 0)
        return
    for family, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        yield family, (str(address[0]), 0, *address[2:])


def _bind_one(
    family: socket.AddressFamily, address: tuple[str | int, ...], interface: str | None
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if interface is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock
