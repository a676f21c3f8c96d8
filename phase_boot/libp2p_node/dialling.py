"""Which addresses of a peer are dialled, and in which order.

A peer that names others must not choose among the services that only this machine or its network
reaches. So what it names may be no nearer than its own address, as with a redirect of HTTP: a peer
of the Internet leads to the Internet, one of a private network also to that network. Names in
addresses of strangers are not resolved, and an address of this machine is dialled for a peer on
this machine only.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

import trio

from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.own_address import connected_address, is_one_of
from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.host import Node, PeerFailed
from phase_boot.url import DISTANCE, Scope, scope_of

ADDRESSES: Final = 2
"""Addresses of one peer that are dialled."""
DIAL_SECONDS: Final = 1.5
"""Time for one address, from the first packet until the peer has proven its id."""
RESOLVE_SECONDS: Final = 2.0
"""Time to resolve a name."""
Endpoint = tuple[str, int]
"""An IP address and a TCP port."""


def named(addresses: Iterable[Multiaddr], nearest: Scope) -> tuple[Endpoint, ...]:
    """Return the endpoints among ``addresses`` to which a peer of scope ``nearest`` may send us."""
    endpoints = (address.tcp for address in addresses)
    return permitted((each for each in endpoints if each is not None), nearest)


def permitted(endpoints: Iterable[Endpoint], nearest: Scope) -> tuple[Endpoint, ...]:
    """Return the endpoints that are no nearer than ``nearest``; a name is none of them.

    An IPv4-mapped address is returned as the IPv4 address, so that it counts as the same one.
    """
    allowed = []
    for host, port in endpoints:
        scope, endpoint = scope_of(host), (connected_address(host), port)
        if DISTANCE.get(scope, -1) < DISTANCE.get(nearest, len(DISTANCE)) or scope is Scope.LINK:
            continue
        if (scope is Scope.OWN or _is_own(endpoint)) and nearest is not Scope.OWN:
            continue
        allowed.append(endpoint)
    return tuple(dict.fromkeys(allowed))


async def resolved(address: Multiaddr) -> tuple[Endpoint, ...]:
    """Return the endpoints of an address that the parent named; a name is resolved.

    Raises:
        PeerFailed: it is no TCP address, or its name has no address.
    """
    if address.tcp is None:
        raise PeerFailed("it has no TCP address")
    host, port = address.tcp
    if scope_of(host) is not Scope.NAME:
        return ((host, port),)
    family = {"dns4": socket.AF_INET, "dns6": socket.AF_INET6}.get(address.parts[0][0], 0)
    try:
        with trio.fail_after(RESOLVE_SECONDS):
            found = await trio.socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except (OSError, trio.TooSlowError, UnicodeError):
        raise PeerFailed(f"{host} has no address") from None
    return tuple(dict.fromkeys((str(sockaddr[0]), port) for *_, sockaddr in found))


async def connect(
    node: Node, peer: PeerId, endpoints: Iterable[Endpoint], seconds: float = DIAL_SECONDS
) -> Scope:
    """Connect to ``peer`` at the first endpoint that works, and return the scope of that.

    Each endpoint has ``seconds``.

    Raises:
        PeerFailed: none works.
    """
    reason = "it has no address that can be dialled"
    for host, port in [each for each in endpoints if _has_route(each)][:ADDRESSES]:
        try:
            with trio.fail_after(seconds):
                await node.connect(peer, host, port)
        except (PeerFailed, trio.TooSlowError) as failure:
            reason = str(failure) or "it does not answer"
        else:
            return scope_of(host)
    raise PeerFailed(reason)


def _is_own(endpoint: Endpoint) -> bool:
    """Return whether the address is of this machine: the kernel would send from it to itself."""
    source = _source(endpoint)
    return source is not None and is_one_of(endpoint[0], [source])


def _has_route(endpoint: Endpoint) -> bool:
    return _source(endpoint) is not None


def _source(endpoint: Endpoint) -> str | None:
    """Return the address from which the kernel sends to ``endpoint``, or None without a route.

    Connecting a UDP socket sends nothing.
    """
    host, port = endpoint
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, port))
            return str(probe.getsockname()[0])
    except OSError:
        return None
