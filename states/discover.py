"""Discover: find the next place that may hold a manifest, nearest first (SPEC M2.6)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from phase_boot.machine.boot import Boot, known
from phase_boot.machine.deferral import Deferred, next_due
from phase_boot.machine.errors import BehindPortal, NotConfigured, NothingFound
from phase_boot.machine.events import CandidateFound, FinderFailed
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.ports import finder as port
from phase_boot.trust.arch import Arch
from phase_boot.trust.document import canonical

LEAST_LOOK_SECONDS: Final = 0.25
"""New candidates have so long to turn up before a deferred one is asked again."""


async def discover(world: World, boot: Boot) -> Step:
    """Leads to: verify (found), shell (give_up)."""
    rules = known(boot.policy, "a policy").discovery
    quest, typed = quest_of(boot), _typed(boot)
    # A URL that somebody typed is what they want now, whatever the policy looks at first.
    wished = ("url", *rules.order) if typed else rules.order
    if boot.link is None:
        # There is no network to look at.
        wished = tuple(origin for origin in rules.order if origin == "cache")
    offered = {finder.origin for finder in world.finders}
    order = tuple(origin for origin in dict.fromkeys(wished) if origin in offered)
    waiting = next_due(boot.deferred, boot.shunned)
    if len(boot.shunned) >= rules.candidates:
        candidate = None
    elif waiting is not None:
        candidate = await _meanwhile(world, quest, order, boot, waiting)
    else:
        candidate = await _in_order(world, quest, order, boot)
    if candidate is not None:
        world.emit(CandidateFound(url=candidate.url, origin=candidate.origin))
        return Step(Trigger.FOUND, replace(boot, candidate=candidate))
    if boot.portal:
        raise BehindPortal(
            f"this network has a captive portal ({boot.portal}): sign in from another device on "
            "this network, then retry, or type the URL of a manifest that this network reaches"
        )
    raise NothingFound(_why(boot, quest, order, world.clock.monotonic()))


def quest_of(boot: Boot) -> port.Quest:
    """Return what is looked for in this boot."""
    policy, facts = known(boot.policy, "a policy"), known(boot.facts, "the machine's facts")
    rules = policy.discovery
    return port.Quest(
        arch=facts.arch,
        channel=policy.channel,
        seconds=rules.window,
        urls=(*_typed(boot), *rules.urls),
        kept=_kept(boot, policy.channel, facts.arch),
    )


def _typed(boot: Boot) -> tuple[str, ...]:
    facts = known(boot.facts, "the machine's facts")
    return tuple(url for url in (boot.typed_url, facts.url) if url)


async def _in_order(
    world: World, quest: port.Quest, order: tuple[str, ...], boot: Boot
) -> port.Candidate | None:
    """Return the first new candidate of the first origin that has one."""
    for origin in order:
        candidate = await _next(world, quest, origin, boot)
        if candidate is not None:
            return candidate
    return None


async def _meanwhile(
    world: World, quest: port.Quest, order: tuple[str, ...], boot: Boot, waiting: Deferred
) -> port.Candidate:
    """Return a new candidate of any origin, or the deferred one as soon as it is due."""
    left = max(LEAST_LOOK_SECONDS, waiting.due - world.clock.monotonic())
    looks = [
        asyncio.create_task(_next(world, quest, origin, boot), name=f"look at {origin}")
        for origin in order
    ]
    due = asyncio.create_task(world.clock.sleep(left), name="the deferred candidate")
    try:
        while not due.done():
            done, _ = await asyncio.wait({due, *looks}, return_when=asyncio.FIRST_COMPLETED)
            for look in [each for each in looks if each in done]:
                looks.remove(look)
                if (found := look.result()) is not None:
                    return found
    finally:
        for task in (due, *looks):
            task.cancel()
        await asyncio.gather(due, *looks, return_exceptions=True)
    return waiting.candidate


async def _next(world: World, quest: port.Quest, origin: str, boot: Boot) -> port.Candidate | None:
    """Return the first new candidate of the finders of ``origin``.

    One on a host that has failed before waits until nobody else turned up, so that a machine that
    announces itself a hundred times stands in nobody's way.
    """
    deferred = {each.candidate.url for each in boot.deferred}
    hosts = {port.host_of(url) for url in boot.shunned | deferred}
    later = None
    for finder in world.finders:
        if finder.origin != origin:
            continue
        try:
            async with aclosing(finder.find(quest)) as candidates:
                async for candidate in candidates:
                    if candidate.url in boot.shunned | deferred:
                        continue
                    if port.server_of(candidate.url) in boot.liars:
                        continue
                    if port.host_of(candidate.url) not in hosts:
                        return candidate
                    later = later or candidate
        except port.FinderFailed as failure:
            world.emit(FinderFailed(origin=origin, reason=str(failure)))
    return later


def _kept(boot: Boot, channel: str, arch: Arch) -> bytes | None:
    newest = boot.seen.newest(channel, arch)
    return canonical(newest.document) if newest else None


def _why(boot: Boot, quest: port.Quest, order: tuple[str, ...], now: float) -> str:
    if boot.link is None and not boot.refusals:
        return (
            f"there is no network, and nothing of {quest.channel} for {quest.arch} was kept on "
            "Cache; check the cable, then retry"
        )
    if boot.deferred and not boot.refusals:
        first = min(boot.deferred, key=lambda each: each.due)
        left = max(0.0, first.due - now)
        return (
            f"{first.candidate.url} asked to be left alone for {left:.0f} more seconds "
            f"({first.reason}); wait, start a provider on this network, or type a URL"
        )
    if boot.refusals:
        return f"none of the {len(boot.refusals)} found can be booted; last: {boot.refusals[-1]}"
    return (
        f"nothing offers {quest.channel} for {quest.arch} here (looked at: {', '.join(order)}); "
        "start a provider on this network, or type a URL"
    )


HANDLER = Handler(
    state=State.DISCOVER,
    run=discover,
    leads=frozenset({Trigger.FOUND}),
    raises=(NotConfigured, NothingFound, BehindPortal),
    budget=600,
)
