"""The candidates that an accepted IPNS record names: its mirrors, and the manifest by its CID."""

from __future__ import annotations

from collections.abc import Iterator

from phase_boot.content.cid import Cid
from phase_boot.content.http_address import server_at
from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.own_address import connected_address, is_one_of
from phase_boot.ports.finder import BLOCK, WAN, Candidate, DiscoveryQuery, Ignored
from phase_boot.trust.ipns_record import IpnsRecord
from phase_boot.url import BadUrl, announced, below
from policies.model import Reach


def record_candidates(record: IpnsRecord, query: DiscoveryQuery) -> Iterator[Candidate | Ignored]:
    """Yield the URLs of the manifest that a record names for the machine; peers are the last.

    The manifest is at each gateway of the policy and at each HTTP server among the providers by its
    CID. An address that the record names must not be of this machine or of one link: a thief of the
    announcing key must not choose among the services that only this machine reaches.
    """
    place = record.announcement.places.get((query.channel, query.arch))
    if place is None or query.records is None:
        return
    for url in place.mirrors:
        try:
            mirror = announced(url)
        except BadUrl as error:
            yield Ignored(f"a mirror in the record of {record.name}: {error}")
            continue
        if is_one_of(mirror.host, query.records.own):
            own_address = connected_address(mirror.host)
            yield Ignored(f"a mirror in the record of {record.name}: {own_address} is this machine")
            continue
        yield Candidate(url=str(mirror), finder=WAN, record=record)
    near = query.records.reach is Reach.LAN
    own = query.records.own
    servers = (server_at(each, private=near, own=own) for each in place.providers)
    for gateway in dict.fromkeys((*query.records.gateways, *filter(None, servers))):
        yield Candidate(url=_by_cid(gateway, place.manifest_cid), finder=WAN, record=record)
    some = bool(query.records.bootstrap) or any(map(_is_peer, place.providers))
    if query.records.peers and some:
        yield Candidate(url=f"{BLOCK}{place.manifest_cid}", finder=WAN, record=record)


def _by_cid(gateway: str, cid: Cid) -> str:
    """Return the URL of a block at a gateway."""
    return below(gateway, f"ipfs/{cid}?format=raw")


def _is_peer(address: str) -> bool:
    """Return whether a provider is a peer of libp2p that is reached by TCP."""
    try:
        parsed = Multiaddr.parse(address)
    except ValueError:
        return False
    return parsed.tcp is not None and parsed.peer is not None
