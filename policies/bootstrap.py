"""The bootstrap peers of a policy: where a look-up in a DHT begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from phase_boot.content.multiaddr import Multiaddr
from policies.servers import texts

MAX_BOOTSTRAP: Final = 32


def bootstrap_from(values: Sequence[Any]) -> tuple[str, ...]:
    """Return multiaddrs of peers in their canonical form, without duplicates.

    Raises:
        ValueError: one has no TCP address or no peer id, or there are more than `MAX_BOOTSTRAP`.
    """
    addresses = tuple(dict.fromkeys(_peer_address(text) for text in texts(values)))
    if len(addresses) > MAX_BOOTSTRAP:
        raise ValueError(f"{len(addresses)} are too many; name {MAX_BOOTSTRAP} at most")
    return addresses


def _peer_address(text: str) -> str:
    try:
        address = Multiaddr.parse(text)
    except ValueError as error:
        raise ValueError(f"{text!r:.300} is no address of a peer: {error}") from error
    if address.tcp is None or address.peer is None:
        raise ValueError(
            f"{text!r:.300} is no address of a peer; write one like /dns4/HOST/tcp/4001/p2p/ID"
        )
    return str(address)
