"""Which of the providers that peers of the DHT name are passed on."""

from __future__ import annotations

from phase_boot.content.multiaddr import Multiaddr
from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.dht_operations import (
    MAX_OF_ONE_PEER,
    MAX_PROVIDERS,
    further_providers,
)
from phase_boot.libp2p_node.kad_message import PeerEntry

ADDRESS = Multiaddr.parse("/ip4/192.0.2.7/tcp/4001")


def entry(number: int, *addresses: Multiaddr) -> PeerEntry:
    return PeerEntry(PeerId(b"\x12\x20" + number.to_bytes(32)), addresses)


def entries(numbers: range) -> list[PeerEntry]:
    return [entry(number, ADDRESS) for number in numbers]


def test_a_liar_that_answers_first_leaves_room_for_what_others_name() -> None:
    found = set[PeerId]()
    assert further_providers(found, entries(range(20))) == entries(range(MAX_OF_ONE_PEER))
    assert further_providers(found, entries(range(100, 101))) == entries(range(100, 101))


def test_the_same_providers_of_another_peer_add_others() -> None:
    found = set[PeerId]()
    first = further_providers(found, entries(range(20)))
    second = further_providers(found, entries(range(20)))
    assert first + second == entries(range(2 * MAX_OF_ONE_PEER))


def test_a_provider_without_an_address_takes_no_room() -> None:
    named = [entry(1), entry(1, ADDRESS), entry(1, ADDRESS), *entries(range(2, 20))]
    assert further_providers(set(), named) == entries(range(1, MAX_OF_ONE_PEER + 1))


def test_a_flood_of_providers_ends_at_the_bound() -> None:
    found = set[PeerId]()
    for number in range(100):
        further_providers(found, entries(range(1000 * number, 1000 * number + 20)))
    assert len(found) == MAX_PROVIDERS
    assert further_providers(found, entries(range(10**6, 10**6 + 1))) == []
