"""Eviction from a full table, at the cost of the network with the most entries.

Every client-filled table of a provider uses this rule, so that one client network cannot exclude
the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from phase_boot.provider.addresses import ClientAddress

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Entry(Generic[K]):
    """One entry of a table.

    Attributes:
        key: its key in the table.
        client: the address of its client.
        idle: whether its client makes no use of it.
        rank: among otherwise equal entries, the lowest rank is evicted first.
    """

    key: K
    client: ClientAddress
    idle: bool
    rank: float


def victim(
    entries: Iterable[Entry[K]], newcomer: ClientAddress, *, same_network: bool = False
) -> K | None:
    """Return the key of the entry to evict for ``newcomer``, or None to refuse the newcomer.

    The network with the most idle entries loses one, then the network with the most entries;
    within a network the host, by the same order. Any newcomer may evict an idle entry. An entry in
    use is evicted only if its network or host keeps as many entries as the newcomer's afterwards.
    So each network can use an equal share, whatever the others do.

    Args:
        entries: the whole table.
        newcomer: the address of the client that wants an entry.
        same_network: evict only from the newcomer's network, because that is at its limit.
    """
    listed = list(entries)
    networks = Counter(each.client.network for each in listed)
    hosts = Counter(each.client for each in listed)
    idle_networks = Counter(each.client.network for each in listed if each.idle)
    idle_hosts = Counter(each.client for each in listed if each.idle)

    def may_lose(entry: Entry[K]) -> bool:
        network = entry.client.network
        if same_network and network != newcomer.network:
            return False
        if entry.idle:
            return True
        if network == newcomer.network:
            return hosts[entry.client] >= hosts[newcomer] + 2
        return networks[network] >= networks[newcomer.network] + 2

    def cost(entry: Entry[K]) -> tuple[float, ...]:
        network = entry.client.network
        return (
            idle_networks[network],
            networks[network],
            idle_hosts[entry.client],
            hosts[entry.client],
            entry.idle,
            -entry.rank,
        )

    found = max(filter(may_lose, listed), key=cost, default=None)
    return None if found is None else found.key
