"""Discover: find the next place that may hold a manifest, nearest first (SPEC M2.6)."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

from phase_boot.machine.boot import Boot, known
from phase_boot.machine.errors import BehindPortal, NotConfigured, NothingFound
from phase_boot.machine.events import CandidateFound, FinderFailed
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.ports import finder as port
from phase_boot.trust.arch import Arch
from phase_boot.trust.document import canonical


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
    if len(boot.shunned) < rules.candidates:
        for origin in order:
            candidate = await _next(world, quest, origin, boot)
            if candidate is not None:
                world.emit(CandidateFound(url=candidate.url, origin=candidate.origin))
                return Step(Trigger.FOUND, replace(boot, candidate=candidate))
    if boot.portal:
        raise BehindPortal(
            f"this network has a captive portal ({boot.portal}): sign in from another device on "
            "this network, then retry, or type the URL of a manifest that this network reaches"
        )
    raise NothingFound(_why(boot, quest, order))


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


async def _next(world: World, quest: port.Quest, origin: str, boot: Boot) -> port.Candidate | None:
    """Return the first new candidate of the finders of ``origin``.

    One on a host that has failed before waits until nobody else turned up, so that a machine that
    announces itself a hundred times stands in nobody's way.
    """
    hosts = {port.host_of(url) for url in boot.shunned}
    later = None
    for finder in world.finders:
        if finder.origin != origin:
            continue
        try:
            async with aclosing(finder.find(quest)) as candidates:
                async for candidate in candidates:
                    if candidate.url in boot.shunned:
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


def _why(boot: Boot, quest: port.Quest, order: tuple[str, ...]) -> str:
    if boot.link is None and not boot.refusals:
        return (
            f"there is no network, and nothing of {quest.channel} for {quest.arch} was kept on "
            "Cache; check the cable, then retry"
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
