"""Reads which peers of libp2p have a CID in the replies of delegated routers.

The records are those in which `http_providers` looks for HTTP servers. They are untrusted: what
they name is bounded, and no router may name an address that is nearer than its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.peer_id import PeerId
from phase_boot.download.http_providers import MAX_ADDRESSES, records_in
from phase_boot.ports.block_exchange import BlockPeer
from phase_boot.url import DISTANCE, BadUrl, Scope, Url


def peers_in(reply: bytes, nearest: Scope) -> Iterator[BlockPeer]:
    """Yield the peers that the reply of a delegated router names.

    Raises:
        ValueError: it is no reply.
    """
    for record in records_in(reply):
        match record:
            case {"ID": str() as name, "Addrs": list() as addresses}:
                texts = [each for each in addresses[:MAX_ADDRESSES] if isinstance(each, str)]
                with suppress(ValueError):
                    yield BlockPeer(str(PeerId.parse(name)), _dialled(texts), nearest)


def nearest_to(router: str) -> Scope:
    """Return the scope of the nearest address that a router may name."""
    try:
        scope = Url.parse(router).scope
    except BadUrl:
        return Scope.PUBLIC
    return scope if scope in DISTANCE else Scope.PUBLIC


def _dialled(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses that lead to a peer by TCP."""
    kept = []
    for text in addresses:
        with suppress(ValueError):
            if Multiaddr.parse(text).tcp is not None:
                kept.append(text)
    return tuple(kept)
