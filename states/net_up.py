"""NetUp: wait until a link has an address, and open the store meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from phase_boot.machine.boot import Boot, known
from phase_boot.machine.errors import CannotStore, NoNetwork, NotConfigured
from phase_boot.machine.events import LinkUp, StoreOpened
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.ports.cache import Shelf
from policies.model import Policy

MIB = 1024 * 1024


async def net_up(world: World, boot: Boot) -> Step:
    """Leads to: discover (linked), shell (give_up)."""
    policy = known(boot.policy, "a policy")
    try:
        async with asyncio.TaskGroup() as tasks:
            shelf = tasks.create_task(_shelf(world, policy))
            link = tasks.create_task(world.network.link(policy.network.wait_seconds))
    except* (NoNetwork, CannotStore) as failures:
        # One sentence for a person: the first cause is the one to mend first.
        raise failures.exceptions[0] from failures
    up = link.result()
    world.emit(LinkUp(interface=up.interface, addresses=up.addresses))
    return Step(Trigger.LINKED, replace(boot, link=up, shelf=shelf.result()))


async def _shelf(world: World, policy: Policy) -> Shelf:
    shelf = await world.cache.open(
        persistent=policy.cache_enabled, bound=policy.limits.cache_mib * MIB
    )
    world.emit(StoreOpened(persistent=shelf.persistent, note=shelf.note))
    return shelf


HANDLER = Handler(
    state=State.NET_UP,
    run=net_up,
    leads=frozenset({Trigger.LINKED}),
    raises=(NotConfigured, NoNetwork, CannotStore),
    budget=600,
)
