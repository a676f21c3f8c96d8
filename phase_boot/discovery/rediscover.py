"""The candidates of a new search by all finders, for the Shell's menu."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import Final

from phase_boot.discovery.search import search
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.handler import Ports
from phase_boot.ports import finder as port
from phase_boot.ports.operator import CandidateOption

MAX_OPTIONS: Final = 32
OPTIONS_PER_HOST: Final = 4
"""Upper bound per host, so that many announcements of one host hide no other host."""


async def list_candidates(
    ports: Ports, query: port.DiscoveryQuery, boot: BootContext
) -> tuple[CandidateOption, ...]:
    """Search with all finders that the policy allows, concurrently.

    Each option has the reason for which this boot refused it, if it did.
    """
    order = require(boot.policy, "a policy").discovery.order
    # The manifest on Cache has no URL; a retry finds it.
    kinds = {*order, "url"} - {"cache"}
    allowed = [finder for finder in ports.finders if finder.kind in kinds]
    found = _Found()
    async with aclosing(search(allowed, query, emit=ports.emit)) as candidates:
        async for candidate in candidates:
            found.take(candidate)
    return tuple(
        CandidateOption(url=url, finder=kind, refused=_why_refused(boot, url))
        for url, kind in found.kinds.items()
    )


class _Found:
    """The URLs found so far, each with the kind of the finder that named it first."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}
        self._hosts: Counter[str] = Counter()

    def take(self, candidate: port.Candidate) -> None:
        host = port.host_of(candidate.url)
        full = len(self.kinds) >= MAX_OPTIONS or self._hosts[host] >= OPTIONS_PER_HOST
        if candidate.url not in self.kinds and not full:
            self._hosts[host] += 1
            self.kinds[candidate.url] = candidate.finder


def _why_refused(boot: BootContext, url: str) -> str | None:
    """Return the newest reason for which ``url`` was refused, or None."""
    return next((each.reason for each in reversed(boot.refusals) if each.url == url), None)
