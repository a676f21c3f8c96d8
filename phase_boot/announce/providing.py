"""Puts what a SITE holds into kubo nodes and lets them provide it, all nodes at the same time.

Only roots are provided: a client asks the provider of a root for every block below it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from phase_boot.adapters.http.client import Client
from phase_boot.announce.kubo_rpc import KuboRpc, reading_seconds
from phase_boot.announce.provision import Fault, Provision, RootState
from phase_boot.announce.servers import Limits, Server, has_no_peers, utc_now
from phase_boot.announce.site_roots import DamagedFile, SiteRoot, root_car
from phase_boot.content.cid import Codec
from phase_boot.ports.fetcher import FetchFailed

_AT_ONCE: Final = 4
"""Searches in the DHT at once through a node."""

_Step = Callable[[SiteRoot], Coroutine[None, None, RootState]]


class NodeRounds:
    """Requests to one kubo node about the roots of a SITE."""

    def __init__(
        self, client: Client, server: Server, site: Path, roots: Sequence[SiteRoot], limits: Limits
    ) -> None:
        self._client = client
        self._server = server
        self._node = KuboRpc(client, server.url, limits.kubo_seconds)
        self._site = site
        self._roots = roots
        self._limits = limits
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def provide(self, *, imports: bool) -> Provision:
        """Let the node provide the roots that it holds; with ``imports`` put the others there."""
        states = await self._each(self._imported if imports else self._held)
        done = await asyncio.gather(*map(self._provided, states))
        return self._provision(done, sends=True)

    async def look(self) -> Provision:
        """Return which roots the node holds, and of which the DHT names a provider."""
        states = await self._each(self._held)
        alone = await has_no_peers(self._client, self._server, self._limits)
        done = await asyncio.gather(*map(self._alone if alone else self._found, states))
        return self._provision(done, sends=False)

    def _provision(self, states: Sequence[RootState], *, sends: bool) -> Provision:
        return Provision(
            place=self._server.url, total=len(self._roots), roots=tuple(states), sends=sends
        )

    async def _each(self, step: _Step) -> list[RootState]:
        """Take a step for each root in order, up to one at which the node fails."""
        states: list[RootState] = []
        for root in self._roots:
            try:
                states.append(await step(root))
            except FetchFailed as failed:
                states.append(RootState(root=root, fault=Fault.FAILED, reason=str(failed)))
                break
        return states

    async def _held(self, root: SiteRoot) -> RootState:
        if await self._holds(root):
            return RootState(root=root, held=True)
        return RootState(root=root, fault=Fault.LACKING, reason=f"it lacks {root.cid}")

    async def _holds(self, root: SiteRoot) -> bool:
        node, cid = self._node, root.cid
        if not await node.has_block(cid):
            return False
        # A pin costs less to look up than a DAG, which the node reads whole.
        if cid.codec is Codec.RAW or await node.has_pinned(cid):
            return True
        return await node.has_dag(cid, root.size)

    async def _imported(self, root: SiteRoot) -> RootState:
        if await self._node.has_block(root.cid) and await self._node.has_pinned(root.cid):
            return RootState(root=root, held=True)
        try:
            await self._send(root)
        except DamagedFile as damaged:
            return RootState(root=root, fault=Fault.NOT_SENT, reason=str(damaged))
        if await self._holds(root):
            return RootState(root=root, held=True, imported=True)
        reason = f"it answered that it took {root.cid}, and lacks it"
        return RootState(root=root, fault=Fault.NOT_KEPT, reason=reason)

    async def _send(self, root: SiteRoot) -> None:
        car = root_car(self._site, root)
        if car is not None:
            await self._node.import_car(car, root.size)
        elif root.manifest is not None:
            await self._node.put_block(root.manifest)

    async def _provided(self, state: RootState) -> RootState:
        if not state.held:
            return state
        try:
            async with self._free:
                await self._node.provide(state.root.cid)
        except FetchFailed as failed:
            return replace(state, fault=Fault.NOT_PROVIDED, reason=str(failed))
        return replace(state, provided=True)

    async def _alone(self, state: RootState) -> RootState:
        if state.fault is Fault.FAILED:
            return state
        return replace(state, fault=Fault.ALONE, reason="it has no peers")

    async def _found(self, state: RootState) -> RootState:
        if state.fault is Fault.FAILED:
            return state
        async with self._free:
            cid, seconds = state.root.cid, self._limits.search_seconds
            found = await self._node.finds_provider(cid, seconds)
        # A node need not hold what it finds.
        reason = "" if found else f"the DHT names no provider of {cid}"
        return replace(state, found=found, fault=None if found else Fault.UNFOUND, reason=reason)


async def provide(
    servers: Sequence[Server],
    site: Path,
    roots: Sequence[SiteRoot],
    limits: Limits,
    *,
    imports: bool,
) -> list[Provision]:
    """Let each kubo node provide the roots that it holds; with ``imports`` put the others there."""
    return await _visit(servers, site, roots, limits, lambda each: each.provide(imports=imports))


async def look(
    servers: Sequence[Server], site: Path, roots: Sequence[SiteRoot], limits: Limits
) -> list[Provision]:
    """Return what each kubo node holds and finds; nothing is sent."""
    return await _visit(servers, site, roots, limits, lambda each: each.look())


async def _visit(
    servers: Sequence[Server],
    site: Path,
    roots: Sequence[SiteRoot],
    limits: Limits,
    ask: Callable[[NodeRounds], Coroutine[None, None, Provision]],
) -> list[Provision]:
    longest = limits.kubo_seconds + reading_seconds(max((root.size for root in roots), default=0))
    client = Client(stall_seconds=longest, wall=utc_now)
    nodes = [NodeRounds(client, server, site, roots, limits) for server in servers]
    try:
        return list(await asyncio.gather(*map(ask, nodes)))
    finally:
        await client.close()
