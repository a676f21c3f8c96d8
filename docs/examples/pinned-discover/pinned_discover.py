"""Discover that asks only the policy's URLs, in their order: no mDNS, no typed URL, no Cache.

It is for machines that must not take a manifest from any server but the configured ones. Verify,
Fetch and the Seed Shell stay as they are: they need nothing of the Discover that ships.
"""

from __future__ import annotations

from dataclasses import replace

from phase_boot.journal.network_events import CandidateFound
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.deferral import next_due
from phase_boot.machine.errors import NotConfigured, NothingFound
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.ports.finder import Candidate, server_of


async def discover(ports: Ports, boot: BootContext) -> Step:
    """Leads to: verify (found), shell (give_up)."""
    urls = require(boot.policy, "a policy").discovery.urls
    deferred = {each.candidate.url for each in boot.deferred}
    for url in urls:
        is_banned = server_of(url) in boot.banned_origins
        if not is_banned and url not in boot.rejected_urls | deferred:
            return _found(ports, boot, Candidate(url=url, finder="url"))
    waiting = next_due(boot.deferred, boot.rejected_urls)
    if waiting is not None:
        # Verify deferred it, because its failure may pass; it is asked again when the pause ends.
        await ports.clock.sleep(max(0.0, waiting.due - ports.clock.monotonic()))
        return _found(ports, boot, waiting.candidate)
    raise NothingFound(
        f"none of the policy's {len(urls)} URLs can be booted; mend those servers, then retry"
    )


def _found(ports: Ports, boot: BootContext, candidate: Candidate) -> Step:
    ports.emit(CandidateFound(url=candidate.url, finder=candidate.finder))
    return Step(Trigger.FOUND, replace(boot, candidate=candidate))


HANDLER = Handler(
    state=State.DISCOVER,
    run=discover,
    leads=frozenset({Trigger.FOUND}),
    raises=(NotConfigured, NothingFound),
    budget=600,
)
