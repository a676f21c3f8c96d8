"""The query of this boot, the order of the searches, and candidates beside the current one.

Discover, Verify, Fetch and the Shell search with the same query. Verify, which hedges requests, and
Fetch want further candidates.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from phase_boot.content.arch import Arch
from phase_boot.discovery.record_queries import Known, record_query
from phase_boot.discovery.search import NetworkWatch, search
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.handler import Ports
from phase_boot.ports.finder import (
    CACHE,
    LAN,
    WAN,
    Candidate,
    DiscoveryQuery,
    RecordQuery,
    block_in,
    host_of,
    server_of,
)
from phase_boot.ports.network import Link, link_towards, own_addresses
from phase_boot.trust.strict_json import canonical


def discovery_query(boot: BootContext) -> DiscoveryQuery:
    """Return the query of this boot: its channel, architecture, URLs and newest manifest."""
    policy, facts = require(boot.policy, "a policy"), require(boot.facts, "the machine's facts")
    rules = policy.discovery
    return DiscoveryQuery(
        arch=facts.arch,
        channel=policy.channel,
        seconds=rules.window,
        urls=(*typed_urls(boot), *rules.urls),
        newest_manifest=_newest_manifest(boot, policy.channel, facts.arch),
        records=_record_query(boot),
    )


def search_order(ports: Ports, boot: BootContext) -> tuple[str, ...]:
    """Return the kinds of finders to ask, in order; without a link only what is on Cache."""
    rules, typed = require(boot.policy, "a policy").discovery, typed_urls(boot)
    # A typed URL comes first, whatever the order of the policy.
    wished = ("url", *rules.order) if typed else rules.order
    if boot.link is None:
        wished = tuple(kind for kind in rules.order if kind == CACHE)
    offered = {finder.kind for finder in ports.finders}
    return tuple(kind for kind in dict.fromkeys(wished) if kind in offered)


def typed_urls(boot: BootContext) -> tuple[str, ...]:
    """Return the manifest URLs from the menu and from the kernel's command line."""
    facts = require(boot.facts, "the machine's facts")
    return tuple(url for url in (boot.typed_url, facts.url) if url)


def _record_query(boot: BootContext) -> RecordQuery | None:
    """Return how to ask for the publisher's record; None where no server is to be asked.

    A root without an announcing key, or a policy without the finder, turns the search off.
    """
    policy = require(boot.policy, "a policy")
    rules, chain = policy.discovery, boot.chain
    # The Shell searches too, and no root is loaded before the network is up.
    if chain is None or WAN not in rules.order or not chain.announcers:
        return None
    known = Known(
        now=require(boot.now, "the time"),
        records=boot.records,
        dht_peers=boot.dht_peers,
        own=own_addresses(boot.links),
    )
    return record_query(policy, chain.announcers, known, searches_lan=LAN in rules.order)


def _newest_manifest(boot: BootContext, channel: str, arch: Arch) -> bytes | None:
    newest = boot.seen.newest(channel, arch)
    return canonical(newest.document) if newest else None


async def other_candidates(
    ports: Ports, boot: BootContext
) -> AsyncGenerator[tuple[Candidate, Link | None], None]:
    """Yield candidates of all finders beside the current one, each with its link.

    No host is yielded twice, and none that was tried before. A URL from the menu or from the
    kernel's command line is tried alone. The manifest on Cache is left for the case that nothing
    else is found.
    """
    asked = require(boot.candidate, "a candidate").url
    if asked in typed_urls(boot):
        return
    rejected_urls = {asked, *boot.rejected_urls, *(each.candidate.url for each in boot.deferred)}
    hosts = {host_of(url) for url in rejected_urls}
    order = [kind for kind in search_order(ports, boot) if kind != CACHE]
    finders = [finder for finder in ports.finders if finder.kind in order]
    async with (
        NetworkWatch(
            ports.network, reach=boot.reach, since=boot.reach_since, restarts=boot.restarts
        ) as watch,
        aclosing(search(finders, _current_query(boot, watch), emit=ports.emit)) as candidates,
    ):
        async for candidate in candidates:
            host = host_of(candidate.url)
            if block_in(candidate.url) is not None:
                # Peers are asked where all servers have failed, and not beside a slow one.
                continue
            if host in hosts or server_of(candidate.url) in boot.banned_origins:
                continue
            hosts.add(host)
            yield candidate, link_towards(host, watch.links or ()) or boot.link


def _current_query(boot: BootContext, watch: NetworkWatch) -> DiscoveryQuery:
    """Return the query with the addresses that this machine has now."""
    return discovery_query(boot if watch.links is None else replace(boot, links=watch.links))


async def more_providers(
    ports: Ports, boot: BootContext, seconds: float
) -> AsyncGenerator[tuple[str, Candidate], None]:
    """Yield further providers that are announced on this network, with their base URLs."""
    query = replace(discovery_query(boot), seconds=seconds)
    allowed = boot.link is not None and LAN in require(boot.policy, "a policy").discovery.order
    finders = [finder for finder in ports.finders if allowed and finder.kind == LAN]
    async with aclosing(search(finders, query, emit=ports.emit)) as candidates:
        async for candidate in candidates:
            base = candidate.base(query.arch, query.channel)
            if base is not None and candidate.url not in boot.rejected_urls:
                yield base, candidate
