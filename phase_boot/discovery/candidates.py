"""Further candidates beside the current one: for Verify, which hedges requests, and for Fetch."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from phase_boot.discovery.query import discovery_query, search_order, typed_urls
from phase_boot.discovery.search import NetworkWatch, search
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.handler import Ports
from phase_boot.ports.finder import CACHE, LAN, Candidate, host_of, server_of
from phase_boot.ports.network import Link, link_towards


async def other_candidates(
    ports: Ports, boot: BootContext
) -> AsyncGenerator[tuple[Candidate, Link | None], None]:
    """Yield candidates of all origins beside the current one, each with its link.

    No host is yielded twice, and none that was tried before. A URL from the menu or from the
    kernel's command line is tried alone. The manifest on Cache is left for the case that nothing
    else is found.
    """
    asked = require(boot.candidate, "a candidate").url
    if asked in typed_urls(boot):
        return
    rejected_urls = {asked, *boot.rejected_urls, *(each.candidate.url for each in boot.deferred)}
    hosts = {host_of(url) for url in rejected_urls}
    order = [origin for origin in search_order(ports, boot) if origin != CACHE]
    finders = [finder for finder in ports.finders if finder.origin in order]
    async with (
        NetworkWatch(
            ports.network, reach=boot.reach, since=boot.reach_since, restarts=boot.restarts
        ) as watch,
        aclosing(search(finders, discovery_query(boot), emit=ports.emit)) as candidates,
    ):
        async for candidate in candidates:
            host = host_of(candidate.url)
            if host in hosts or server_of(candidate.url) in boot.banned_origins:
                continue
            hosts.add(host)
            yield candidate, link_towards(host, watch.links or ()) or boot.link


async def more_providers(
    ports: Ports, boot: BootContext, seconds: float
) -> AsyncGenerator[tuple[str, Candidate], None]:
    """Yield further providers that are announced on this network, with their base URLs."""
    query = replace(discovery_query(boot), seconds=seconds)
    allowed = boot.link is not None and LAN in require(boot.policy, "a policy").discovery.order
    finders = [finder for finder in ports.finders if allowed and finder.origin == LAN]
    async with aclosing(search(finders, query, emit=ports.emit)) as candidates:
        async for candidate in candidates:
            base = candidate.base(query.arch, query.channel)
            if base is not None and candidate.url not in boot.rejected_urls:
                yield base, candidate
