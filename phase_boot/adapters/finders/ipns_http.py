"""Finds what the publisher's IPNS record names: asks delegated routers and gateways over HTTP.

Providers of this network are asked first, and the servers beyond it after `HeadStart`: public
servers limit the requests of one address, which all machines of a network may share. All servers
of a kind are asked at the same time, each for `RECORD_SECONDS` at most. A server is not believed:
a record counts by the signature of an announcing key that the root delegates, and one that is older
than the newest accepted record is ignored. And the record is not believed either: it names places,
and the manifest that is found there is verified like any other (docs/adr/0016-announcement.md).

The paths are those of the Delegated Routing API (https://specs.ipfs.tech/routing/http-routing-v1/)
and of the trustless gateway (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from random import random
from typing import Final

from phase_boot.adapters.finders.lan_providers import LanProviders
from phase_boot.adapters.finders.record_candidates import record_candidates
from phase_boot.adapters.finders.record_requests import RecordRequests
from phase_boot.ports.fetcher import Fetcher, FetchFailed
from phase_boot.ports.finder import WAN, Candidate, DiscoveryQuery, Ignored, RecordQuery
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import (
    MAX_RECORD,
    IpnsRecord,
    check_not_replayed,
    verify_record,
)
from phase_boot.trust.refusals import Refusal
from phase_boot.url import below
from policies.model import Reach

RECORD_SECONDS: Final = 3.0
"""Time for the answer of one server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStart:
    """How long the servers beyond this network wait for its providers, in seconds.

    Discover takes no candidate of a record in its first second (`states.discover`), so that the
    first of these waits delays no boot.
    """

    least: float = 0.2
    """A provider answers a query of mDNS within 0.12 s (RFC 6762, section 6)."""
    most: float = 0.6
    """The wait is drawn, so that machines that were switched on together do not ask together."""
    answer: float = 1.0
    """For the answer of a provider that was found by then."""
    record: float = 5.0
    """After a record of a provider, whose places are tried meanwhile."""


class RecordFinder:
    """Yields the manifest URLs of the publisher's newest record, and their gateways' by CID."""

    kind = WAN

    def __init__(
        self,
        fetcher: Fetcher,
        providers: LanProviders | None = None,
        *,
        head_start: HeadStart = HeadStart(),
        chance: Callable[[], float] = random,
    ) -> None:
        """Take the client with which servers are asked, and the providers of this network.

        ``chance`` returns a number from 0 to below 1, which draws the wait.
        """
        self._fetcher = fetcher
        self._providers = providers
        self._head_start = head_start
        self._chance = chance

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield candidates as records arrive, and the reason for each server without one."""
        if query.records is None:
            return
        newest = {record.name: record for record in query.records.newest}
        async with RecordRequests() as requests:
            asking = self._ask_lan_first(requests, query.records)
            requests.last(asyncio.create_task(asking, name="servers of records"))
            async for url, found in requests.answers():
                if isinstance(found, Ignored):
                    yield found
                    continue
                try:
                    check_not_replayed(found, newest.get(found.name))
                except Refusal as refusal:
                    yield Ignored(f"{url}: {refusal}")
                    continue
                newest[found.name] = found
                for each in record_candidates(found, query):
                    yield each

    async def _ask_lan_first(self, requests: RecordRequests, query: RecordQuery) -> None:
        """Ask the providers of this network as they appear, and then the servers beyond it."""
        following = None
        if query.ask_lan and self._providers is not None:
            following = asyncio.create_task(self._follow(self._providers, requests, query))
        try:
            if following is not None:
                await self._wait(requests)
            for name in query.names:
                for url in _urls_of(name, query):
                    requests.start(self._ask(name, url, query), url)
            await requests.wait()
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _wait(self, requests: RecordRequests) -> None:
        """Wait for the providers of this network, longer if one of them has a record."""
        times = self._head_start
        await asyncio.sleep(times.least + (times.most - times.least) * self._chance())
        await requests.wait(times.answer)
        if requests.found:
            await asyncio.sleep(times.record)

    async def _follow(
        self, providers: LanProviders, requests: RecordRequests, query: RecordQuery
    ) -> None:
        near = replace(query, reach=Reach.LAN, redirects=0)
        async with aclosing(providers.follow()) as bases:
            async for base in bases:
                for name in query.names:
                    url = below(base, _routed(name))
                    requests.start(self._ask(name, url, near, needed=False), url)

    async def _ask(
        self, name: IpnsName, url: str, query: RecordQuery, *, needed: bool = True
    ) -> IpnsRecord | Ignored | None:
        """Return a server's record, or why it has none that counts.

        None is returned for a failure of a server that is not ``needed``.
        """
        try:
            async with asyncio.timeout(RECORD_SECONDS):
                raw = await self._fetcher.read(
                    url, limit=MAX_RECORD, reach=query.reach, redirects=query.redirects
                )
            return verify_record(raw, name, query.now)
        except TimeoutError:
            reason = f"no answer within {RECORD_SECONDS:g} seconds"
        except FetchFailed as failure:
            reason = str(failure)
        except Refusal as refusal:
            return Ignored(f"{url}: {refusal}")
        return Ignored(f"{url}: {reason}") if needed else None


def _routed(name: IpnsName) -> str:
    return f"routing/v1/ipns/{name}"


def _urls_of(name: IpnsName, query: RecordQuery) -> Iterator[str]:
    """Yield the URLs at which the record of ``name`` may be."""
    for router in query.routers:
        yield below(router, _routed(name))
    for gateway in query.gateways:
        yield below(gateway, f"ipns/{name}?format=ipns-record")
