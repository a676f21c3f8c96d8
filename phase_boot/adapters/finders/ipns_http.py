"""Finds what the publisher's IPNS record names: asks delegated routers and gateways over HTTP.

All servers are asked at the same time, each for `RECORD_SECONDS` at most. A server is not believed:
a record counts by the signature of an announcing key that the root delegates, and one that is older
than the newest accepted record is ignored. And the record is not believed either: it names places,
and the manifest that is found there is verified like any other (docs/adr/0016-announcement.md).

The paths are those of the Delegated Routing API (https://specs.ipfs.tech/routing/http-routing-v1/)
and of the trustless gateway (https://specs.ipfs.tech/http-gateways/trustless-gateway/).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Final

from phase_boot.content.cid import Cid
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
from phase_boot.url import BadUrl, announced, below

RECORD_SECONDS: Final = 3.0
"""Time for the answer of one server."""


class RecordFinder:
    """Yields the manifest URLs of the publisher's newest record, and their gateways' by CID."""

    kind = WAN

    def __init__(self, fetcher: Fetcher) -> None:
        """Take the client with which the servers are asked."""
        self._fetcher = fetcher

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield candidates as records arrive, and the reason for each server without one."""
        if query.records is None:
            return
        newest = {record.name: record for record in query.records.newest}
        requests = [
            asyncio.create_task(self._ask(name, url, query.records), name=url)
            for name in query.records.names
            for url in _urls_of(name, query.records)
        ]
        try:
            for answer in asyncio.as_completed(requests):
                found = await answer
                if isinstance(found, Ignored):
                    yield found
                    continue
                url, record = found
                try:
                    check_not_replayed(record, newest.get(record.name))
                except Refusal as refusal:
                    yield Ignored(f"{url}: {refusal}")
                    continue
                newest[record.name] = record
                for each in _candidates(record, query):
                    yield each
        finally:
            for request in requests:
                request.cancel()
            await asyncio.gather(*requests, return_exceptions=True)

    async def _ask(
        self, name: IpnsName, url: str, query: RecordQuery
    ) -> tuple[str, IpnsRecord] | Ignored:
        """Return a server's record with its URL, or why it has none that counts."""
        try:
            async with asyncio.timeout(RECORD_SECONDS):
                raw = await self._fetcher.read(
                    url, limit=MAX_RECORD, reach=query.reach, redirects=query.redirects
                )
            return url, verify_record(raw, name, query.now)
        except TimeoutError:
            return Ignored(f"{url}: no answer within {RECORD_SECONDS:g} seconds")
        except (FetchFailed, Refusal) as failure:
            return Ignored(f"{url}: {failure}")


def _urls_of(name: IpnsName, query: RecordQuery) -> Iterator[str]:
    """Yield the URLs at which the record of ``name`` may be."""
    for router in query.routers:
        yield below(router, f"routing/v1/ipns/{name}")
    for gateway in query.gateways:
        yield below(gateway, f"ipns/{name}?format=ipns-record")


def _candidates(record: IpnsRecord, query: DiscoveryQuery) -> Iterator[Candidate | Ignored]:
    """Yield the URLs of the manifest that a record names for the machine.

    A mirror's address must not be of this machine or of one link: a thief of the announcing key
    must not choose among the services that only this machine reaches.
    """
    place = record.announcement.places.get((query.channel, query.arch))
    if place is None or query.records is None:
        return
    for url in place.mirrors:
        try:
            yield Candidate(url=str(announced(url)), finder=WAN, record=record)
        except BadUrl as error:
            yield Ignored(f"a mirror in the record of {record.name}: {error}")
    for gateway in query.records.gateways:
        yield Candidate(url=_by_cid(gateway, place.manifest_cid), finder=WAN, record=record)


def _by_cid(gateway: str, cid: Cid) -> str:
    """Return the URL of a block at a gateway."""
    return below(gateway, f"ipfs/{cid}?format=raw")
