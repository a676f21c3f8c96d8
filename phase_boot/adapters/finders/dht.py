"""Finds what the publisher's IPNS record names: looks it up in the Kademlia DHT of libp2p.

It begins when the finders of this network and the servers of the policy have had a head start. A
peer is not believed: a record counts as one of a router does (`ipns_http`). A look-up ends when
`AGREEING` peers have sent the newest record, or `GRACE_SECONDS` after the first that counts: one
peer may have an older one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from phase_boot.adapters.finders.record_candidates import record_candidates
from phase_boot.ports.dht import Dht, DhtFailed, DhtPeer
from phase_boot.ports.finder import (
    WAN,
    Candidate,
    DiscoveryQuery,
    Ignored,
    RecordQuery,
)
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import IpnsRecord, check_not_replayed, verify_record
from phase_boot.trust.refusals import Refusal

AGREEING: Final = 8
"""Peers with the same newest record that end a look-up.

Honest peers near the key have the record; peers that conspire may have an older one, which is valid
too. Where 30 % do, 3 of them were the first to agree in every tenth look-up (ADR 0022).
"""
GRACE_SECONDS: Final = 1.0
LOOKUP_SECONDS: Final = 10.0
"""Longest duration of a look-up in the DHT."""
LONGEST_SECONDS: Final = 30.0
"""The same with the start of the process, which takes 10 s on a slow machine."""


@dataclass(slots=True)
class _Lookup:
    """What the look-up of one name has found."""

    name: IpnsName
    newest: IpnsRecord | None
    """The newest record that this machine has accepted, then that of the look-up too."""
    found: IpnsRecord | None = None
    refused: dict[bytes, str] = field(default_factory=dict)
    sent: Counter[bytes] = field(default_factory=Counter)
    failure: str = ""
    peers: list[str] = field(default_factory=list)
    """The peers that answered."""

    def take(self, raw: bytes, query: RecordQuery) -> None:
        """Judge a record; it counts if it is the newest so far."""
        self.sent[raw] += 1
        if self.sent[raw] > 1:
            return
        try:
            record = verify_record(raw, self.name, query.now)
            check_not_replayed(record, self.newest)
        except Refusal as refusal:
            self.refused[raw] = str(refusal)
        else:
            self.found = self.newest = record

    @property
    def agreed(self) -> bool:
        """Whether enough peers sent the newest record."""
        return self.found is not None and self.sent[self.found.raw] >= AGREEING

    @property
    def reasons(self) -> list[str]:
        """Return why nothing was found, or which records were ignored."""
        reasons = list(dict.fromkeys(self.refused.values()))
        if self.found is None and not reasons:
            reasons.append(self.failure or "no peer has a record of it")
        return [f"the DHT, {self.name}: {reason}" for reason in reasons]


class DhtFinder:
    """Yields the manifest URLs of the newest record that peers of the DHT have."""

    kind = WAN

    def __init__(self, dht: Dht) -> None:
        """Take the port of the DHT."""
        self._dht = dht

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield the candidates of each name's record, and what was ignored on the way."""
        records = query.records
        if records is None or not records.bootstrap:
            return
        await asyncio.sleep(records.dht_delay)
        known = {record.name: record for record in records.newest}
        lookups = [
            asyncio.create_task(self._look_up(_Lookup(name, known.get(name)), records))
            for name in records.names
        ]
        try:
            for next_one in asyncio.as_completed(lookups):
                lookup = await next_one
                for reason in lookup.reasons:
                    yield Ignored(reason)
                if lookup.found is not None:
                    for each in record_candidates(lookup.found, query):
                        if isinstance(each, Candidate):
                            yield replace(each, dht_peers=tuple(lookup.peers))
                        else:
                            yield each
        finally:
            for task in lookups:
                task.cancel()
            await asyncio.gather(*lookups, return_exceptions=True)

    async def _look_up(self, lookup: _Lookup, query: RecordQuery) -> _Lookup:
        """Return the look-up of one name when it has ended."""
        clock = asyncio.get_running_loop().time
        replies = self._dht.records(lookup.name, query.bootstrap, LOOKUP_SECONDS)
        try:
            async with asyncio.timeout(LONGEST_SECONDS) as limit, aclosing(replies):
                async for reply in replies:
                    if isinstance(reply, DhtPeer):
                        lookup.peers.append(reply.address)
                        continue
                    waiting = lookup.found is None
                    lookup.take(reply.raw, query)
                    if lookup.agreed:
                        break
                    if waiting and lookup.found is not None:
                        limit.reschedule(clock() + GRACE_SECONDS)
        except TimeoutError:
            lookup.failure = "no peer had a record of it in time"
        except DhtFailed as failure:
            lookup.failure = str(failure)
        return lookup
