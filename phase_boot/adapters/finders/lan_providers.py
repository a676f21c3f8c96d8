"""The providers of this network that mDNS has found so far; other finders ask them too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from phase_boot.ports.finder import LAN, Candidate, DiscoveryQuery, Finder, Ignored

MAX_PROVIDERS: Final = 4
"""Providers that are kept: any machine of the network can announce itself many times."""


class LanProviders:
    """Implements `ports.finder.Finder` by another one, and keeps the providers that it found."""

    kind = LAN

    def __init__(self, finder: Finder) -> None:
        """Take the finder of announced providers."""
        self._finder = finder
        self._bases: list[str] = []
        self._grown = asyncio.Event()

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield what the other finder finds."""
        async with aclosing(self._finder.find(query)) as found:
            async for each in found:
                if isinstance(each, Candidate):
                    self._keep(each.base(query.arch, query.channel))
                yield each

    async def follow(self) -> AsyncGenerator[str, None]:
        """Yield the base URL of each provider, those of earlier searches first. It does not end."""
        count = 0
        while True:
            while count < len(self._bases):
                yield self._bases[count]
                count += 1
            self._grown.clear()
            await self._grown.wait()

    def _keep(self, base: str | None) -> None:
        if base is not None and base not in self._bases and len(self._bases) < MAX_PROVIDERS:
            self._bases.append(base)
            self._grown.set()
