"""Name resolution for HTTP: records the scope of hosts, filters targets of redirects."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypedDict

from phase_boot.url import DISTANCE, Scope, scope_of

MAX_HOSTS: Final = 1024
"""Recorded hosts, at most."""


Lookup: TypeAlias = Callable[[str], Awaitable[list[tuple[int, int, str]]]]


class Resolved(TypedDict):
    """An address in the form of aiohttp's resolvers."""

    hostname: str
    host: str
    port: int
    family: int
    proto: int
    flags: int


class TooNear(OSError):
    """All addresses of a redirect target are too near."""


async def system_lookup(host: str) -> list[tuple[int, int, str]]:
    """Return family, protocol and text of each address of a host; raise OSError for none."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, 0, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [(family, proto, _text(address)) for family, _, proto, _, address in found]


class Scopes:
    """Scopes of resolved hosts."""

    def __init__(
        self, scope: Callable[[str], Scope] = scope_of, lookup: Lookup = system_lookup
    ) -> None:
        """Use functions that return an address's scope and a name's addresses."""
        self.of_address = scope
        self.lookup = lookup
        self._farthest: dict[str, Scope] = {}

    def note(self, host: str, scopes: list[Scope]) -> None:
        """Record the farthest scope of a host's addresses."""
        if len(self._farthest) >= MAX_HOSTS:
            self._farthest.clear()
        known = [scope for scope in scopes if scope in DISTANCE]
        self._farthest[host] = max(known, key=DISTANCE.__getitem__, default=Scope.PUBLIC)

    def of(self, host: str) -> Scope:
        """Return the scope of ``host``; the farthest scope if unknown."""
        scope = self.of_address(host)
        return self._farthest.get(host, Scope.PUBLIC) if scope is Scope.NAME else scope


class Resolver:
    """Implements aiohttp's `AbstractResolver` with the system's resolver.

    With ``farthest`` only addresses are returned that a server of that scope may redirect to.
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
            TooNear: no address is permitted.
            OSError: the host has no address.
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
        """Do nothing: there are no resources."""

    def _allows(self, scope: Scope) -> bool:
        return self._farthest is None or DISTANCE.get(scope, -1) >= DISTANCE[self._farthest]


def _text(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """Return an address as text, with its zone if link-local."""
    host, zone = str(address[0]), address[3:]
    return f"{host}%{zone[0]}" if zone and zone[0] else host
