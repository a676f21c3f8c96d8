"""The network, up to having an address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Link:
    """An interface that can be used: its name and its addresses as text."""

    interface: str
    addresses: tuple[str, ...]


class Network(Protocol):
    """Somebody else configures the links; this tells when one is usable."""

    async def link(self, seconds: float) -> Link:
        """Wait for a link with an address.

        Raises:
            NoNetwork: none came up within ``seconds``; the sentence says what was seen.
        """
