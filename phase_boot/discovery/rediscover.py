"""Everything that turns up when one looks again, for a person to choose from."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import Final

from phase_boot.discovery.search import search
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.handler import Ports
from phase_boot.ports import finder as port
from phase_boot.ports.operator import CandidateOption

MAX_OFFERS: Final = 32
OFFERS_OF_ONE_HOST: Final = 4
"""So that a machine that announces itself a hundred times hides nobody."""


async def list_candidates(
    ports: Ports, query: port.DiscoveryQuery, boot: BootContext
) -> tuple[CandidateOption, ...]:
    """Look with every finder that the policy allows, all of them at once.

    Each offer says why it was refused before.
    """
    order = require(boot.policy, "a policy").discovery.order
    # What is kept has no URL to ask for; a plain retry finds it.
    origins = {*order, "url"} - {"cache"}
    allowed = [finder for finder in ports.finders if finder.origin in origins]
    found = _Found()
    async with aclosing(search(allowed, query, emit=ports.emit)) as candidates:
        async for candidate in candidates:
            found.take(candidate)
    return tuple(
        CandidateOption(url=url, origin=origin, refused=_why_refused(boot, url))
        for url, origin in found.origins.items()
    )


class _Found:
    """What has turned up so far: URLs, and who said so first."""

    def __init__(self) -> None:
        self.origins: dict[str, str] = {}
        self._hosts: Counter[str] = Counter()

    def take(self, candidate: port.Candidate) -> None:
        host = port.host_of(candidate.url)
        full = len(self.origins) >= MAX_OFFERS or self._hosts[host] >= OFFERS_OF_ONE_HOST
        if candidate.url not in self.origins and not full:
            self._hosts[host] += 1
            self.origins[candidate.url] = candidate.origin


def _why_refused(boot: BootContext, url: str) -> str | None:
    told = [said.removeprefix(f"{url}: ") for said in boot.refusals if said.startswith(f"{url}: ")]
    return told[-1] if told else None
