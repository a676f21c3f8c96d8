"""NetUp: waits until a link has an address; meanwhile opens the store and loads the trust state.

Meanwhile it also removes the files from the stick that an earlier boot staged for the firmware.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from phase_boot.journal.content_events import StateDoubted, StoreOpened, TrustRecalled
from phase_boot.journal.handoff_events import LoaderCleared, LoaderNotCleared
from phase_boot.journal.network_events import LinkMissing, link_up
from phase_boot.machine import promises, wall_clock
from phase_boot.machine.boot import BootContext, require
from phase_boot.machine.dht_peers import load_dht_peers
from phase_boot.machine.errors import (
    CannotChainload,
    CannotStore,
    NoNetwork,
    NotConfigured,
    NotLocal,
    NotPrivate,
)
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Ports, Step
from phase_boot.machine.trust_state import load_trust_state
from phase_boot.ports.network import Link, reach_of
from phase_boot.ports.storage import OpenStore
from phase_boot.trust.chain import Chain
from phase_boot.trust.ipns_record import newest_records
from phase_boot.trust.rollback import RollbackState
from policies.model import Mode, Policy

MIB = 1024 * 1024
UNSTAGE_SECONDS = 30


async def net_up(ports: Ports, boot: BootContext) -> Step:
    """Leads to: discover (linked), discover (offline), shell (give_up)."""
    policy = require(boot.policy, "a policy")
    await promises.begin(ports, policy)
    try:
        async with asyncio.TaskGroup() as tasks:
            recalling = tasks.create_task(_recall_trust(ports, policy, boot))
            link = tasks.create_task(_link(ports, policy))
            tasks.create_task(_unstage(ports, policy))
    except* (NoNetwork, NotPrivate, CannotStore) as failures:
        # The Shell shows one sentence; the first cause is the one to remove first.
        raise failures.exceptions[0] from failures
    up, recalled = link.result(), recalling.result()
    if up is None:
        return Step(Trigger.OFFLINE, replace(recalled, link=None, links=()))
    since = asyncio.get_running_loop().time()
    linked = replace(recalled, link=up, links=(up,), reach=reach_of([up]), reach_since=since)
    # No packet is sent before the mode's promises are checked.
    await promises.check(ports, linked)
    return Step(Trigger.LINKED, linked)


async def _unstage(ports: Ports, policy: Policy) -> None:
    """Remove staged files, but not in Private, which writes nothing; a failure is only reported."""
    if policy.mode is Mode.PRIVATE:
        return
    try:
        async with asyncio.timeout(UNSTAGE_SECONDS):
            files = await ports.loader.unstage()
    except CannotChainload as failure:
        ports.emit(LoaderNotCleared(reason=str(failure)))
    except TimeoutError:
        ports.emit(LoaderNotCleared(reason=f"it took more than {UNSTAGE_SECONDS} seconds"))
    else:
        if files > 0:
            ports.emit(LoaderCleared(files=files))


async def _link(ports: Ports, policy: Policy) -> Link | None:
    """Return the link, or None if there is none and the policy permits a boot from Cache.

    Raises:
        NoNetwork: there is none, and the policy has no other source than the network.
        NotPrivate: the interfaces cannot be read back.
    """
    try:
        up = await ports.network.link(policy.network.wait_seconds)
    except NoNetwork as failure:
        if "cache" not in policy.discovery.order:
            raise await promises.without_network(ports, policy, failure) from failure
        ports.emit(LinkMissing(reason=str(failure)))
        return None
    ports.emit(link_up(up))
    return up


async def _recall_trust(ports: Ports, policy: Policy, boot: BootContext) -> BootContext:
    """Open the store, and extend the chain of roots and the rollback floors by its trust state."""
    store = await _open_store(ports, policy)
    memory = await asyncio.to_thread(load_trust_state, store, boot.chain or Chain(policy.trust))
    for doubt in memory.doubts:
        ports.emit(StateDoubted(code=doubt.code, reason=str(doubt)))
    seen = _merged(boot.seen, memory.seen).under(memory.chain)
    now = require(boot.now, "the time")
    facts = require(boot.facts, "the machine's facts")
    floor = seen.floor(policy.channel, facts.arch)
    ports.emit(
        TrustRecalled(
            root=memory.chain.version,
            seen=str(floor) if floor else None,
            kept=store.persistent,
        )
    )
    now = seen.no_earlier(now)
    wall_clock.advance(ports, now)
    records = newest_records(boot.records, memory.records)
    peers = await asyncio.to_thread(load_dht_peers, store.state_files)
    boot = replace(boot, store=store, chain=memory.chain, seen=seen, records=records, now=now)
    return replace(boot, dht_peers=peers or boot.dht_peers)


def _merged(seen: RollbackState, more: RollbackState) -> RollbackState:
    for manifest in more.manifests:
        seen = seen.including(manifest)
    return seen


async def _open_store(ports: Ports, policy: Policy) -> OpenStore:
    store = await ports.store_opener.open(
        persistent=policy.cache_enabled, bound=policy.limits.cache_mib * MIB
    )
    ports.emit(StoreOpened(persistent=store.persistent, note=store.note))
    return store


HANDLER = Handler(
    state=State.NET_UP,
    run=net_up,
    leads=frozenset({Trigger.LINKED, Trigger.OFFLINE}),
    raises=(NotConfigured, NoNetwork, NotPrivate, NotLocal, CannotStore),
    budget=600,
)
