"""The sources of a release's artifacts: mirrors, gateways, providers and, last, peers of libp2p.

A boot and `phase-boot fetch` download from the same sources. Each is untrusted: what it sends is
hashed to what the manifest signs.
"""

from __future__ import annotations

from collections.abc import Collection

from phase_boot.discovery.block_peers import may_ask_peers
from phase_boot.discovery.record_sources import RecordSources
from phase_boot.download import PeerSearch, ProviderSearch, Sources
from phase_boot.ports.block_exchange import BlockExchange
from phase_boot.trust.manifest import Manifest
from phase_boot.url import base_url, bases
from policies.model import Policy, Reach
from policies.servers import Servers


def named_mirrors(base: str | None, manifest: Manifest, named: RecordSources) -> tuple[str, ...]:
    """Return base URLs: of the source that offered the manifest, then those that it names.

    Those that the publisher's record names are the last.
    """
    offered = bases(base) if base else ()
    signed = map(base_url, manifest.mirrors)
    return tuple(dict.fromkeys((*offered, *signed, *named.mirrors())))


def sources_beyond_mirrors(
    policy: Policy,
    servers: Servers,
    named: RecordSources,
    *,
    exchange: BlockExchange,
    own: Collection[str],
) -> Sources:
    """Return the sources of all artifacts, without mirrors.

    Args:
        policy: says how far a source may be, and whether peers may be asked.
        servers: the routers, gateways and peers that may be asked.
        named: the sources of the publisher's records.
        exchange: requests blocks of peers of libp2p.
        own: this machine's addresses, which no router may name.
    """
    http_servers = named.gateways(private=policy.network.reach is Reach.LAN)
    gateways = tuple(dict.fromkeys((*servers.gateways, *http_servers)))
    providers = ProviderSearch(servers.routers, known=gateways, own=own)
    peers = None
    if may_ask_peers(policy, servers):
        peers = PeerSearch(
            exchange, named=named.providers(), routed=providers, bootstrap=servers.bootstrap
        )
    return Sources(gateways=gateways, providers=providers, peer_search=peers)
