"""The newest IPNS records of upstream routers, for the machines of one network.

Public routers limit the requests of one address, and a network may have one. So its provider asks
once and answers all: only for names of which it has a record itself, and only with what their key
signed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from phase_boot.ports.fetcher import Fetcher, FetchFailed
from phase_boot.provider.backends.backend import ServedFile, record_of
from phase_boot.store.layout import RECORDS
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import MAX_RECORD, IpnsRecord, newest_records, verify_record
from phase_boot.trust.refusals import Refusal
from phase_boot.url import below
from policies.model import DEFAULT_REDIRECTS, Reach

ANSWER_SECONDS: Final = 2.0
"""For the answers of all routers; a client waits for 3 s."""
MAX_NAMES: Final = 16
"""Names whose records are kept; further ones are answered from the files alone."""
LEAST_SECONDS: Final = 30.0
MOST_SECONDS: Final = 300.0
"""Bounds of the time after which the routers are asked again: the TTL of a record, within these."""


@dataclass(slots=True)
class _Kept:
    """What the routers answered for one name."""

    record: IpnsRecord | None = None
    due: float = float("-inf")
    """Loop time from which on they are asked again."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one request that asks them; others wait for its answer."""


class UpstreamRecords:
    """Asks routers for the records that a provider serves, and keeps the newest answers."""

    def __init__(
        self,
        fetcher: Fetcher,
        routers: tuple[str, ...],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take the client with which ``routers``, base URLs, are asked."""
        self._fetcher = fetcher
        self._routers = routers
        self._now = now
        self._kept: dict[IpnsName, _Kept] = {}

    async def newest(self, name: IpnsName, served: ServedFile) -> ServedFile:
        """Return the newest record of ``name``: the provider's own one, or that of a router."""
        if name not in self._kept and len(self._kept) >= MAX_NAMES:
            return served
        kept = self._kept.setdefault(name, _Kept())
        loop = asyncio.get_running_loop()
        async with kept.asking:
            if loop.time() >= kept.due:
                kept.record = await self._ask(name)
                seconds = kept.record.ttl_seconds if kept.record is not None else 0.0
                kept.due = loop.time() + min(max(seconds, LEAST_SECONDS), MOST_SECONDS)
        own = self._verified(served.file.read(MAX_RECORD), name)
        served.file.seek(0)
        upstream = None if kept.record is None else self._verified(kept.record.raw, name)
        if upstream is None or (own is not None and not upstream.newer_than(own)):
            return served
        served.file.close()
        return record_of(upstream.raw, name, self._now())

    async def _ask(self, name: IpnsName) -> IpnsRecord | None:
        """Return the newest valid record that any router has within `ANSWER_SECONDS`."""
        requests = {asyncio.create_task(self._read(router, name)) for router in self._routers}
        try:
            done, _ = await asyncio.wait(requests, timeout=ANSWER_SECONDS)
        finally:
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)
        found = [record for request in done if (record := request.result()) is not None]
        return next(iter(newest_records(tuple(found))), None)

    async def _read(self, router: str, name: IpnsName) -> IpnsRecord | None:
        url = below(router, f"{RECORDS[0]}/{name}")
        try:
            raw = await self._fetcher.read(
                url, limit=MAX_RECORD, reach=Reach.INTERNET, redirects=DEFAULT_REDIRECTS
            )
        except FetchFailed:
            return None
        return self._verified(raw, name)

    def _verified(self, raw: bytes, name: IpnsName) -> IpnsRecord | None:
        try:
            return verify_record(raw, name, self._now())
        except Refusal:
            return None
