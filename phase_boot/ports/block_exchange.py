"""Port of bitswap: blocks by their CIDs from peers of libp2p.

What a peer sends is untrusted: the caller hashes each block.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from phase_boot.content.cid import Cid
from phase_boot.url import Scope

MAX_PEERS: Final = 12
"""Peers that are asked for one block."""
MAX_AT_ONCE: Final = 32
"""Blocks that may be requested at the same time."""


@dataclass(frozen=True, slots=True)
class BlockPeer:
    """A peer that may have a block.

    Attributes:
        peer: its id, in base58.
        addresses: its multiaddrs, not parsed.
        nearest: the scope of the nearest address that is dialled. A record, router or peer that
            named it must not choose among services that are nearer than itself.
    """

    peer: str
    addresses: tuple[str, ...]
    nearest: Scope


class BlockExchange(Protocol):
    """Requests blocks from peers; many requests may run at the same time."""

    async def block(
        self, cid: Cid, *, limit: int, peers: Sequence[BlockPeer], seconds: float
    ) -> bytes:
        """Return a block of at most ``limit`` bytes.

        Raises:
            FetchFailed: no peer sent it within ``seconds``; the text says why.
        """

    def providers(
        self, cid: Cid, *, bootstrap: tuple[str, ...], nearest: Scope, seconds: float
    ) -> AsyncGenerator[BlockPeer, None]:
        """Yield the peers that the DHT names for a block.

        Args:
            cid: the block.
            bootstrap: multiaddrs of peers of the DHT to begin with.
            nearest: the scope of the nearest address of a provider that is dialled.
            seconds: longest duration of the look-up, once it has begun.

        Raises:
            FetchFailed: no look-up is possible.
        """
