"""Name resolution for HTTP: remembers how far away a host is, and vets where redirects lead."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypedDict

from phase_boot.adapters.http.redirects import DISTANCE
from phase_boot.url import Scope, scope_of

MAX_HOSTS: Final = 1024
"""Hosts that are remembered."""


Lookup: TypeAlias = Callable[[str], Awaitable[list[tuple[int, int, str]]]]


class Resolved(TypedDict):
    """An address, as aiohttp's resolvers return it."""

    hostname: str
    host: str
    port: int
    family: int
    proto: int
    flags: int


class TooNear(OSError):
    """A name that a redirect leads to has only addresses that it may not lead to."""


async def system_lookup(host: str) -> list[tuple[int, int, str]]:
    """Return family, protocol and text of each address of a host; raise OSError if it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, 0, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [(family, proto, _text(address)) for family, _, proto, _, address in found]


class Scopes:
    """How far away the hosts are that were resolved."""

    def __init__(
        self, scope: Callable[[str], Scope] = scope_of, lookup: Lookup = system_lookup
    ) -> None:
        """Take how to judge an address, and how to look up those of a name."""
        self.of_address = scope
        self.lookup = lookup
        self._farthest: dict[str, Scope] = {}

    def note(self, host: str, scopes: list[Scope]) -> None:
        """Remember the farthest scope of a host's addresses."""
        if len(self._farthest) >= MAX_HOSTS:
            self._farthest.clear()
        known = [scope for scope in scopes if scope in DISTANCE]
        self._farthest[host] = max(known, key=DISTANCE.__getitem__, default=Scope.PUBLIC)

    def of(self, host: str) -> Scope:
        """Return how far away ``host`` is; the farthest there is where that is not known."""
        scope = self.of_address(host)
        return self._farthest.get(host, Scope.PUBLIC) if scope is Scope.NAME else scope


class Resolver:
    """Implements aiohttp's `AbstractResolver` with the system's resolver.

    With ``farthest`` it returns only addresses that a server of that scope may redirect to.
    """

    def __init__(self, scopes: Scopes, farthest: Scope | None) -> None:
        self._scopes = scopes
        self._farthest = farthest

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - both are asked for
    ) -> list[Resolved]:
        """Return the addresses of ``host``.

        Raises:
            TooNear: it has none that may be used.
            OSError: it has none.
        """
        addresses = await self._scopes.lookup(host)
        scopes = [self._scopes.of_address(text) for _, _, text in addresses]
        self._scopes.note(host, scopes)
        allowed = [
            Resolved(
                hostname=host,
                host=text,
                port=port,
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for (kind, proto, text), scope in zip(addresses, scopes, strict=True)
            if self._allows(scope)
        ]
        if not allowed:
            raise TooNear(errno.EACCES, f"{host} has no address that a redirect may lead to")
        return allowed

    async def close(self) -> None:
        """Nothing is kept."""

    def _allows(self, scope: Scope) -> bool:
        return self._farthest is None or DISTANCE.get(scope, -1) >= DISTANCE[self._farthest]


def _text(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """Return an address as a text, with its zone if it is of one link."""
    host, zone = str(address[0]), address[3:]
    return f"{host}%{zone[0]}" if zone and zone[0] else host
