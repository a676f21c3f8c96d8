"""Port of the Kademlia DHT, in which the publisher's IPNS record is.

What it yields is as peers sent it: the caller verifies records, and ends a look-up when it has
enough.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from phase_boot.ports.finder import FinderFailed
from phase_boot.trust.ipns_name import IpnsName


class DhtFailed(FinderFailed):
    """No look-up is possible, or one ended by itself; the text says why."""


@dataclass(frozen=True, slots=True)
class DhtPeer:
    """A peer that answered: its multiaddr, with its id."""

    address: str


@dataclass(frozen=True, slots=True)
class DhtRecord:
    """A record that a peer has. Each peer's is yielded, whether or not it is that of another."""

    raw: bytes


class Dht(Protocol):
    """Looks up in the DHT."""

    def records(
        self, name: IpnsName, bootstrap: tuple[str, ...], seconds: float
    ) -> AsyncGenerator[DhtPeer | DhtRecord, None]:
        """Yield the peers that answer and the records of ``name`` that they have.

        Args:
            name: the name of an announcing key.
            bootstrap: multiaddrs of peers to begin with.
            seconds: longest duration of the look-up, once it has begun.

        Raises:
            DhtFailed: no look-up is possible, or it ended by itself.
        """

    async def stop(self) -> None:
        """End the process that talks to peers, if there is one; a later look-up starts it anew."""
