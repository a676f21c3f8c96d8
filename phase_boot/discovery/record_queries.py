"""How a policy asks for the records of IPNS names: its servers, its peers, and when each is asked.

A boot asks for the announcing keys of its root, `phase-boot fetch` for one name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from phase_boot.discovery.block_peers import may_ask_peers
from phase_boot.ports.finder import RecordQuery
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import IpnsRecord
from policies.model import Mode, Policy, Reach
from policies.servers import NO_SERVERS, Servers

DHT_DELAY_SECONDS: Final = 0.7
"""Time in which this network may make a look-up in the DHT needless."""
DHT_AFTER_SERVERS_SECONDS: Final = 1.2
"""The same where servers are asked for the record: what they have is taken after 1 s (Discover).

So a boot by their record starts no look-up, and machines that share an address exhaust no peer's
limit for it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known before a record is looked up.

    Attributes:
        now: the time by which records are judged.
        records: the newest records that were accepted.
        dht_peers: multiaddrs of peers that answered earlier; they never turn the DHT on.
        own: this machine's addresses, which no record may name.
    """

    now: datetime
    records: tuple[IpnsRecord, ...] = ()
    dht_peers: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()


def record_query(
    policy: Policy, keyids: Iterable[str], known: Known, *, searches_lan: bool
) -> RecordQuery | None:
    """Return how to ask for the records of announcing keys; None where no server is to be asked.

    Without one, no server learns which publisher this machine follows.

    Args:
        policy: names the servers and peers.
        keyids: the announcing keys; a root names them.
        known: what earlier look-ups have yielded.
        searches_lan: whether this network is searched at the same time.
    """
    servers = policy.servers(announced=True)
    if policy.network.reach is not Reach.INTERNET:
        # The kernel does not keep the process that speaks libp2p within this machine's networks.
        servers = replace(servers, bootstrap=())
    if servers == NO_SERVERS:
        return None
    return RecordQuery(
        names=tuple(IpnsName(keyid) for keyid in keyids),
        routers=servers.routers,
        gateways=servers.gateways,
        now=known.now,
        reach=policy.network.reach,
        redirects=policy.network.redirects,
        newest=known.records,
        own=known.own,
        # In Private no machine is told more than it has to know.
        ask_lan=searches_lan and policy.mode is Mode.INTERNET,
        bootstrap=(*servers.bootstrap, *known.dht_peers) if servers.bootstrap else (),
        dht_delay=_dht_delay(policy, servers, searches_lan=searches_lan),
        peers=may_ask_peers(policy, servers),
    )


def _dht_delay(policy: Policy, servers: Servers, *, searches_lan: bool) -> float:
    """Return the seconds before a look-up in the DHT: what the policy says, else the usual.

    None are usual where no network is searched first.
    """
    if policy.discovery.dht_delay is not None:
        return policy.discovery.dht_delay
    if not searches_lan:
        return 0.0
    asks_servers = servers.routers or servers.gateways
    return DHT_AFTER_SERVERS_SECONDS if asks_servers else DHT_DELAY_SECONDS
