"""A network whose links change at given times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

from phase_boot.drill.virtual_time import FOR_EVER
from phase_boot.machine.errors import NoNetwork
from phase_boot.ports.network import Link, Setup, SetupFailed

ETH0: Final = Link("eth0", ("10.0.0.2/24",), gateways=("10.0.0.1",), dns=("10.0.0.1",))


@dataclass
class FakeNetwork:
    """Implements `ports.network.Network`."""

    up: bool = True
    links: tuple[Link, ...] = (ETH0,)
    """The usable links while the network is up, before the first of `later`."""
    later: tuple[tuple[float, tuple[Link, ...]], ...] = ()
    """Changes in order: loop time in seconds, and the usable links from then on."""
    refusal: str | None = None
    """The error of every set-up; without one a set-up brings the link up."""
    setups: list[tuple[Setup, bool]] = field(default_factory=list)
    """Each set-up with its ``lan_only``."""
    _configured: asyncio.Event = field(default_factory=asyncio.Event)

    async def link(self, seconds: float) -> Link:
        deadline = asyncio.get_running_loop().time() + seconds
        while not self._now():
            if not await self._changed(until=deadline):
                raise NoNetwork(f"no link got an address within {seconds:g} seconds; retry")
        return self._now()[0]

    async def changes(self) -> AsyncGenerator[tuple[Link, ...], None]:
        before = self._now()
        yield before
        while True:
            await self._changed(until=asyncio.get_running_loop().time() + FOR_EVER)
            if (now := self._now()) != before:
                before = now
                yield now

    def interfaces(self) -> tuple[str, ...]:
        return ("eth0",)

    async def configure(self, setup: Setup, *, lan_only: bool) -> None:
        if self.refusal is not None:
            raise SetupFailed(self.refusal)
        self.setups.append((setup, lan_only))
        self.up = True
        self._configured.set()
        self._configured = asyncio.Event()

    def _now(self) -> tuple[Link, ...]:
        links = self.links if self.up else ()
        for second, then in self.later:
            if second <= asyncio.get_running_loop().time():
                links = then
        return links

    async def _changed(self, *, until: float) -> bool:
        """Wait for the next change; say whether it came before the time ``until``."""
        now = asyncio.get_running_loop().time()
        coming = min((second for second, _ in self.later if second > now), default=until)
        try:
            async with asyncio.timeout_at(min(coming, until)):
                await self._configured.wait()
        except TimeoutError:
            return coming < until
        return True
