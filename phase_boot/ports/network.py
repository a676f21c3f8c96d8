"""The network, up to having an address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Link:
    """An interface that can be used, and what it was configured with."""

    interface: str
    addresses: tuple[str, ...]
    """Each with the length of its prefix, as in `10.0.0.2/24`."""
    gateways: tuple[str, ...] = ()
    """Where packets for other networks go."""
    dns: tuple[str, ...] = ()
    """The name servers."""
    vlan: int | None = None
    """The VLAN's number if the interface is one."""


class Network(Protocol):
    """Somebody else configures the links; this tells when one is usable."""

    async def link(self, seconds: float) -> Link:
        """Wait for a link with an address.

        Raises:
            NoNetwork: none came up within ``seconds``; the sentence says what was seen.
        """
