"""A DHT whose peers have given records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from phase_boot.ports.dht import DhtFailed, DhtPeer, DhtRecord
from phase_boot.trust.ipns_name import IpnsName


@dataclass
class FakeDht:
    """Implements `ports.dht.Dht`: each peer answers in its turn."""

    peers: list[bytes | None] = field(default_factory=list)
    """The record that each peer has; None is a peer without one."""
    addresses: list[str] = field(default_factory=list)
    """Where the peers answer; others have addresses of their own."""
    seconds: float = 0.1
    """Time between two answers."""
    hangs: bool = False
    """Whether the look-up never ends."""
    failure: str = ""
    """Why it ends by itself after the last peer; empty if it does not."""
    lookups: list[tuple[IpnsName, tuple[str, ...]]] = field(default_factory=list)
    running: int = 0
    """Look-ups that have not been closed."""
    stops: int = 0

    async def records(
        self, name: IpnsName, bootstrap: tuple[str, ...], seconds: float
    ) -> AsyncGenerator[DhtPeer | DhtRecord, None]:
        self.lookups.append((name, bootstrap))
        self.running += 1
        try:
            for number, raw in enumerate(self.peers):
                await asyncio.sleep(self.seconds)
                given = self.addresses[number : number + 1]
                yield DhtPeer(given[0] if given else f"/ip4/192.0.2.{number + 1}/tcp/4001")
                if raw is not None:
                    yield DhtRecord(raw)
            if self.hangs:
                await asyncio.sleep(seconds)
            if self.failure:
                raise DhtFailed(self.failure)
        finally:
            self.running -= 1

    async def stop(self) -> None:
        self.stops += 1
