"""Everything that turns up when one looks again, for a person to choose from."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import Final

from phase_boot.machine.boot import Boot, known
from phase_boot.machine.events import FinderFailed
from phase_boot.machine.handler import World
from phase_boot.ports import finder as port
from phase_boot.ports.operator import Offer

MAX_OFFERS: Final = 32
OFFERS_OF_ONE_HOST: Final = 4
"""So that a machine that announces itself a hundred times hides nobody."""
GRACE_SECONDS: Final = 5
"""A finder that has not come back so long after its time is left."""


async def everything(world: World, quest: port.Quest, boot: Boot) -> tuple[Offer, ...]:
    """Look with every finder that the policy allows; say of each find why it was refused before."""
    order = known(boot.policy, "a policy").discovery.order
    # What is kept has no URL to ask for; a plain retry finds it.
    origins = {*order, "url"} - {"cache"}
    allowed = [finder for finder in world.finders if finder.origin in origins]
    found = _Found()
    for finder in allowed:
        try:
            async with asyncio.timeout(quest.seconds + GRACE_SECONDS):
                await found.take_all(finder, quest)
        except port.FinderFailed as failure:
            world.emit(FinderFailed(origin=finder.origin, reason=str(failure)))
        except TimeoutError:
            world.emit(FinderFailed(origin=finder.origin, reason="it did not come back in time"))
    return tuple(
        Offer(url=url, origin=origin, refused=_why_refused(boot, url))
        for url, origin in found.origins.items()
    )


class _Found:
    """What has turned up so far: URLs, and who said so first."""

    def __init__(self) -> None:
        self.origins: dict[str, str] = {}
        self._hosts: Counter[str] = Counter()

    async def take_all(self, finder: port.Finder, quest: port.Quest) -> None:
        async with aclosing(finder.find(quest)) as candidates:
            async for candidate in candidates:
                self._take(candidate)

    def _take(self, candidate: port.Candidate) -> None:
        host = port.host_of(candidate.url)
        full = len(self.origins) >= MAX_OFFERS or self._hosts[host] >= OFFERS_OF_ONE_HOST
        if candidate.url not in self.origins and not full:
            self._hosts[host] += 1
            self.origins[candidate.url] = candidate.origin


def _why_refused(boot: Boot, url: str) -> str | None:
    told = [said.removeprefix(f"{url}: ") for said in boot.refusals if said.startswith(f"{url}: ")]
    return told[-1] if told else None
