"""The query that every search of a boot starts with, and the order of the origins.

Discover, Verify, Fetch and the Shell use the same query, so it is below all of them.
"""

from __future__ import annotations

from phase_boot.content.arch import Arch
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.handler import Ports
from phase_boot.ports.finder import CACHE, DiscoveryQuery
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
    )


def search_order(ports: Ports, boot: BootContext) -> tuple[str, ...]:
    """Return the origins to search, in order; without a link only what is on Cache."""
    rules, typed = require(boot.policy, "a policy").discovery, typed_urls(boot)
    # A typed URL comes first, whatever the order of the policy.
    wished = ("url", *rules.order) if typed else rules.order
    if boot.link is None:
        wished = tuple(origin for origin in rules.order if origin == CACHE)
    offered = {finder.origin for finder in ports.finders}
    return tuple(origin for origin in dict.fromkeys(wished) if origin in offered)


def typed_urls(boot: BootContext) -> tuple[str, ...]:
    """Return the manifest URLs from the menu and from the kernel's command line."""
    facts = require(boot.facts, "the machine's facts")
    return tuple(url for url in (boot.typed_url, facts.url) if url)


def _newest_manifest(boot: BootContext, channel: str, arch: Arch) -> bytes | None:
    newest = boot.seen.newest(channel, arch)
    return canonical(newest.document) if newest else None
