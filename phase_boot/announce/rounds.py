"""Puts a record to servers and reads it back, all servers at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from phase_boot.adapters.http.client import Client
from phase_boot.announce.servers import Kind, Limits, Server, get, has_no_peers, put, utc_now
from phase_boot.announce.sighting import Sighting, State, judge
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.trust.ipns_record import IpnsRecord


class Rounds:
    """Requests to servers about the record ``ours``."""

    def __init__(
        self,
        client: Client,
        ours: IpnsRecord,
        limits: Limits,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client = client
        self._ours = ours
        self._limits = limits
        self._wall = wall

    async def look(self, server: Server) -> Sighting:
        """Return what a server has."""
        unjudged = Sighting(
            kind=server.kind,
            place=server.url,
            ours=self._ours,
            now=self._wall(),
            state=State.UNREACHABLE,
        )
        try:
            answer = await get(self._client, server, self._ours.name, self._limits)
        except FetchFailed as failed:
            return replace(unjudged, reason=str(failed))
        return judge(unjudged, answer)

    async def announce(self, server: Server) -> Sighting:
        """Put the record to a server, and return what it has afterwards.

        A server that passes the record on may need a moment, so it is asked a few times.
        """
        ours, limits = self._ours, self._limits
        reply = await put(self._client, server, ours.name, ours.raw, limits)
        seen = await self.look(server)
        for _ in range(limits.reads - 1):
            if seen.state not in {State.OLDER, State.ABSENT}:
                break
            await asyncio.sleep(limits.pause_seconds)
            seen = await self.look(server)
        if server.kind is Kind.KUBO and seen.state is State.OURS:
            if not reply.accepted:
                seen = replace(seen, state=State.HELD)
            elif await has_no_peers(self._client, server, limits):
                seen = replace(seen, state=State.HELD, reason="it has no peers")
        return replace(seen, answered=reply.text)


async def visit(
    servers: Iterable[Server], ours: IpnsRecord, limits: Limits, *, sends: bool
) -> list[Sighting]:
    """Return what each server has; with ``sends``, after ``ours`` was put there."""
    client = Client(stall_seconds=limits.kubo_seconds, wall=utc_now)
    rounds = Rounds(client, ours, limits)
    visiting = rounds.announce if sends else rounds.look
    try:
        return list(await asyncio.gather(*map(visiting, servers)))
    finally:
        await client.close()
