"""Discover: finds the next candidate, a URL that may have a manifest, nearest first (SPEC M2.6).

All finders search at once. The order of the policy decides between what they find: a kind that
stands later waits `HEAD_START_SECONDS` for those before it, and the manifest on Cache for the end
of all of them. So a machine alone with its mirror loses a second, and not a whole window.

A candidate that failed before is used again only when it is due and no new one was found. A network
that has grown makes unreachable candidates worth another request.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from phase_boot.discovery.candidates import discovery_query, search_order
from phase_boot.discovery.search import NetworkWatch, search
from phase_boot.journal.network_events import CandidateFound, link_up
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.deferral import Deferred, due_now, next_due
from phase_boot.machine.errors import BehindPortal, NotConfigured, NothingFound
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.ports import finder as port
from phase_boot.ports.network import link_towards, reach_of

HEAD_START_SECONDS: Final = 1.0
"""Time in which a candidate of an earlier kind is preferred to one that was found before it.

A provider of this network answers within 0.1 s (RFC 6762 lets it wait 0.12 s)."""
MIN_SEARCH_SECONDS: Final = 0.25
"""Shortest search for new candidates before a deferred one is used again."""


async def discover(ports: Ports, boot: BootContext) -> Step:
    """Leads to: verify (found), shell (give_up)."""
    rules = require(boot.policy, "a policy").discovery
    async with NetworkWatch(
        ports.network, reach=boot.reach, since=boot.reach_since, restarts=boot.restarts
    ) as watch:
        while True:
            boot = _update_network(ports, boot, watch)
            candidate = await _next_candidate(ports, boot, watch)
            if candidate is not None:
                ports.emit(CandidateFound(url=candidate.url, finder=candidate.finder))
                boot = _update_network(ports, boot, watch)
                link = link_towards(port.host_of(candidate.url), watch.links or ())
                return Step(
                    Trigger.FOUND, replace(boot, candidate=candidate, link=link or boot.link)
                )
            if not await _network_grows(boot, watch, rules.window):
                break
    if boot.portal:
        raise BehindPortal(
            f"this network has a captive portal ({boot.portal}): sign in from another device on "
            "this network, then retry, or type the URL of a manifest that this network reaches"
        )
    now = ports.clock.monotonic()
    raise NothingFound(_explain(boot, discovery_query(boot), search_order(ports, boot), now))


def _update_network(ports: Ports, boot: BootContext, watch: NetworkWatch) -> BootContext:
    """Return ``boot`` with the current links and their reach.

    If the reach has grown, unreachable and deferred candidates may be used again.
    """
    grown, now = watch.has_grown(), ports.clock.monotonic()
    links = watch.links or ()
    new = [link for link in links if reach_of([link]) - boot.reach]
    if grown:
        for link in new:
            ports.emit(link_up(link))
    kept = boot.unreachable if not grown else frozenset[str]()
    return replace(
        boot,
        link=boot.link or (links[0] if links else None),
        links=boot.links if watch.links is None else links,
        reach=watch.reach,
        reach_since=watch.since,
        restarts=watch.restarts,
        rejected_urls=boot.rejected_urls - (boot.unreachable - kept),
        unreachable=kept,
        deferred=due_now(boot.deferred, now) if grown else boot.deferred,
    )


async def _network_grows(boot: BootContext, watch: NetworkWatch, window: float) -> bool:
    """Return whether the network has grown, so that another search may find more.

    If a URL was unreachable, wait for a further address within the window.
    """
    if boot.link is None:
        return await watch.grows(until=0)
    return bool(boot.unreachable) and await watch.grows(until=watch.since + window)


async def _next_candidate(
    ports: Ports, boot: BootContext, watch: NetworkWatch
) -> port.Candidate | None:
    """Return the next candidate: a new one, or a deferred one that is due."""
    if len(boot.rejected_urls) >= require(boot.policy, "a policy").discovery.candidates:
        return None
    order, waiting = search_order(ports, boot), next_due(boot.deferred, boot.rejected_urls)
    if waiting is not None:
        return await _wait_for_candidate(ports, order, boot, waiting, watch)
    return await _preferred_candidate(ports, order, boot, watch)


async def _preferred_candidate(
    ports: Ports, order: tuple[str, ...], boot: BootContext, watch: NetworkWatch
) -> port.Candidate | None:
    """Search with the finders of all kinds at once; return the candidate that ``order`` prefers.

    A network that grows gives the kinds another head start.
    """
    loop, query = asyncio.get_running_loop(), discovery_query(boot)
    began = loop.time()
    searches = {
        kind: asyncio.create_task(_ask_finders(ports, query, kind, boot, watch), name=kind)
        for kind in order
    }
    try:
        while True:
            running = [search for search in searches.values() if not search.done()]
            kind = next((kind for kind in order if _found(searches[kind])), None)
            if kind is None and not running:
                return None
            left = None
            if kind is not None:
                earlier = [searches[each] for each in order[: order.index(kind)]]
                left = max(began, watch.since) + HEAD_START_SECONDS - loop.time()
                if all(each.done() for each in earlier) or (left <= 0 and kind != port.CACHE):
                    return searches[kind].result()
            await asyncio.wait(
                running,
                timeout=None if kind == port.CACHE else left,
                return_when=asyncio.FIRST_COMPLETED,
            )
    finally:
        for search in searches.values():
            search.cancel()
        await asyncio.gather(*searches.values(), return_exceptions=True)


def _found(search: asyncio.Task[port.Candidate | None]) -> bool:
    """Return whether a search has ended with a candidate; raise what it raised."""
    return search.done() and search.result() is not None


async def _wait_for_candidate(
    ports: Ports, order: tuple[str, ...], boot: BootContext, waiting: Deferred, watch: NetworkWatch
) -> port.Candidate:
    """Return a new candidate of any finder, or the deferred one as soon as it is due.

    When the network grows it is due at once, unless its source asked for the pause.
    """
    left = max(MIN_SEARCH_SECONDS, waiting.due - ports.clock.monotonic())
    searches = [
        asyncio.create_task(
            _ask_finders(ports, discovery_query(boot), kind, boot, watch),
            name=f"look at {kind}",
        )
        for kind in order
    ]
    due = asyncio.create_task(ports.clock.sleep(left), name="the deferred candidate")
    grown = asyncio.create_task(watch.grows(until=math.inf), name="another network")
    ends = {due} if waiting.asked else {due, grown}
    try:
        while not any(end.done() for end in ends):
            done, _ = await asyncio.wait({*ends, *searches}, return_when=asyncio.FIRST_COMPLETED)
            for look in [each for each in searches if each in done]:
                searches.remove(look)
                if (found := look.result()) is not None:
                    return found
    finally:
        for task in (due, grown, *searches):
            task.cancel()
        await asyncio.gather(due, grown, *searches, return_exceptions=True)
    return waiting.candidate


async def _ask_finders(
    ports: Ports, query: port.DiscoveryQuery, kind: str, boot: BootContext, watch: NetworkWatch
) -> port.Candidate | None:
    """Return the first new candidate of the finders of ``kind``.

    A candidate on a host that has failed before comes after all others, so that a machine that
    announces itself a hundred times delays no other.
    """
    now = ports.clock.monotonic()
    deferred = {each.candidate.url for each in boot.deferred if each.due > now}
    hosts = {port.host_of(url) for url in boot.rejected_urls | deferred}
    later = None
    finders = [finder for finder in ports.finders if finder.kind == kind]
    async with aclosing(search(finders, query, emit=ports.emit, watch=watch)) as candidates:
        async for candidate in candidates:
            if candidate.url in boot.rejected_urls | deferred:
                continue
            if port.server_of(candidate.url) in boot.banned_origins:
                continue
            if port.host_of(candidate.url) not in hosts:
                return candidate
            later = later or candidate
    return later


def _explain(
    boot: BootContext, query: port.DiscoveryQuery, order: tuple[str, ...], now: float
) -> str:
    if boot.link is None and not boot.refusals:
        return (
            f"there is no network, and nothing of {query.channel} for {query.arch} was kept on "
            "Cache; check the cable, then retry"
        )
    held = [each for each in boot.deferred if each.due > now]
    if held and not boot.refusals:
        first = min(held, key=lambda each: each.due)
        left = first.due - now
        return (
            f"{first.candidate.url} asked to be left alone for {left:.0f} more seconds "
            f"({first.reason}); wait, start a provider on this network, or type a URL"
        )
    if boot.refusals:
        return f"none of the {len(boot.refusals)} found can be booted; last: {boot.refusals[-1]}"
    return (
        f"nothing offers {query.channel} for {query.arch} here (looked at: {', '.join(order)}); "
        "start a provider on this network, or type a URL"
    )


HANDLER = Handler(
    state=State.DISCOVER,
    run=discover,
    leads=frozenset({Trigger.FOUND}),
    raises=(NotConfigured, NothingFound, BehindPortal),
    budget=600,
)
