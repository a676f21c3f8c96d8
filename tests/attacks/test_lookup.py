"""Attacks on a look-up in the DHT by peers that invent others, in a simulated network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.adapters.finders.dht import AGREEING
from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.dialling import Endpoint
from phase_boot.libp2p_node.known_peers import (
    MAX_FIRST_AT_ONCE,
    MAX_PER_ADDRESS,
    MAX_PER_TURN,
    KnownPeers,
    Request,
)
from tests.support.simulated_dht import (
    BUCKET,
    Named,
    Reply,
    SimulatedDht,
    position,
    walk,
)

KEY = b"/ipns/a name"
PEERS = 600


def invented(dht: SimulatedDht) -> list[Named]:
    """Return peers that are closer to the key than most that exist, each at its own address."""
    return [(dht.near(), (dht.new_endpoint(),)) for _ in range(BUCKET)]


def honest_at_wrong_addresses(dht: SimulatedDht) -> list[Named]:
    return [(peer, (dht.new_endpoint(),)) for peer in holders(dht)]


def invented_at_honest_addresses(dht: SimulatedDht) -> list[Named]:
    return [(dht.near(), (dht.places[peer],)) for peer in holders(dht)]


def honest_and_nothing_else(dht: SimulatedDht) -> list[Named]:
    """Return the peers that have the record, so that they count as the liar's branch."""
    return [(peer, (dht.places[peer],)) for peer in holders(dht)]


def holders(dht: SimulatedDht) -> list[PeerId]:
    """Return the peers to which a publisher gives the record."""
    return dht.closest(dht.places)


SYBILS = {
    "do not exist": lambda _: Reply(0.001, None),
    "hang": lambda _: Reply(99, None),
    "invent others": lambda dht: Reply(0.01, invented(dht)),
}


def network(**lies: object) -> SimulatedDht:
    dht = SimulatedDht(KEY, **lies)  # type: ignore[arg-type] # the fields of the class
    dht.add(PEERS, lying=0.3)
    return dht


def honest(dht: SimulatedDht) -> list[PeerId]:
    return [peer for peer in dht.places if peer not in dht.liars]


def assert_the_record_is_found(dht: SimulatedDht, bootstrap: list[PeerId]) -> None:
    found = walk(dht, bootstrap)
    able = set(holders(dht)) - dht.liars
    assert len(found.answered & able) >= min(AGREEING, len(able))
    assert found.asked <= 2 * MAX_PER_TURN + len(bootstrap)


@pytest.mark.parametrize("sybil", SYBILS.values(), ids=SYBILS)
def test_invented_peers_do_not_hide_those_that_have_the_record(sybil: object) -> None:
    dht = network(lie=invented, sybil=sybil)
    assert_the_record_is_found(dht, honest(dht)[:5])


@pytest.mark.parametrize("sybil", SYBILS.values(), ids=SYBILS)
def test_one_honest_bootstrap_peer_among_ten_is_enough(sybil: object) -> None:
    dht = network(lie=invented, sybil=sybil)
    found = walk(dht, [*sorted(dht.liars)[:9], honest(dht)[0]])
    assert found.answered & set(holders(dht))


@pytest.mark.parametrize(
    "lie", [honest_at_wrong_addresses, invented_at_honest_addresses, honest_and_nothing_else]
)
def test_what_a_liar_says_of_honest_peers_keeps_none_from_being_asked(lie: object) -> None:
    dht = network(lie=lie)
    assert_the_record_is_found(dht, honest(dht)[:5])


def test_without_liars_every_peer_that_has_the_record_is_asked() -> None:
    dht = SimulatedDht(KEY)
    dht.add(PEERS)
    found = walk(dht, list(dht.places)[:5])
    assert set(holders(dht)) <= found.answered


def test_bootstrap_peers_are_asked_before_the_closest_ones() -> None:
    dht = network()
    known = KnownPeers(KEY)
    first, *others = honest(dht)[:10]
    known.enter(first, (dht.places[first],))
    request = known.next()
    assert request is not None
    known.answered(request)
    known.learn(request.known, invented(dht))
    for peer in others:
        known.enter(peer, (dht.places[peer],))
    asked = [each.known.peer for _ in others if (each := known.next()) is not None]
    assert asked == others


def test_bootstrap_peers_that_hang_do_not_all_run_at_once() -> None:
    dht = network()
    known = KnownPeers(KEY)
    for peer in dht.places:
        known.enter(peer, (dht.places[peer],))
    running = [request for _ in dht.places if (request := known.next()) is not None]
    assert len(running) == MAX_FIRST_AT_ONCE


@pytest.mark.parametrize(
    ("hosts", "asked"),
    [
        (["20.0.0.1"] * BUCKET, MAX_PER_ADDRESS),
        ([f"2a00:1::{n:x}" for n in range(1, BUCKET)], MAX_PER_ADDRESS),
        ([f"2a00:1:0:{n:x}::1" for n in range(1, BUCKET)], BUCKET - 1),
        (["10.0.0.1"] * BUCKET, BUCKET),
    ],
)
def test_a_peer_names_few_peers_at_one_public_address(hosts: list[str], asked: int) -> None:
    dht = network()
    known = KnownPeers(KEY)
    entry = honest(dht)[0]
    known.enter(entry, (dht.places[entry],))
    request = known.next()
    assert request is not None
    known.answered(request)
    places: list[tuple[Endpoint, ...]] = [((host, 4001),) for host in hosts]
    known.learn(request.known, [(dht.new_id(), place) for place in places])
    made = 0
    while (request := known.next()) is not None:
        known.answered(request)
        made += 1
    assert made == asked


@given(st.data())
def test_whatever_peers_answer_a_walk_ends_within_its_bounds(data: st.DataObject) -> None:
    known, ids = KnownPeers(KEY), [PeerId(b"\x12\x20" + bytes([n]) * 32) for n in range(40)]
    hosts = st.lists(st.sampled_from(["20.0.0.1", "20.0.0.2", "10.0.0.1", "2a00:1::1"]), max_size=3)
    places = hosts.map(lambda each: tuple((host, 4001) for host in each))
    entry = st.tuples(st.sampled_from(ids), places)
    for peer, place in data.draw(st.lists(entry, max_size=5)):
        known.enter(peer, place)
    running: list[Request] = []
    tried: set[tuple[PeerId, Endpoint]] = set()
    made = 0
    while True:
        while (request := known.next()) is not None:
            peer = request.known.peer
            assert peer not in {each.known.peer for each in running}
            new = {(peer, endpoint) for endpoint in request.known.endpoints} - tried
            assert new
            tried |= new
            running.append(request)
            made += 1
        if not running:
            break
        request = running.pop(data.draw(st.integers(0, len(running) - 1)))
        if data.draw(st.booleans()):
            known.answered(request)
            known.learn(request.known, data.draw(st.lists(entry, max_size=6)))
        else:
            known.failed(request)
    assert made <= 2 * MAX_PER_TURN + 5


def test_a_peer_that_answered_is_not_asked_again_at_other_addresses() -> None:
    dht = network()
    known = KnownPeers(KEY)
    entry = honest(dht)[0]
    known.enter(entry, (dht.places[entry],))
    request = known.next()
    assert request is not None
    known.answered(request)
    known.learn(request.known, [(entry, (dht.new_endpoint(),))])
    assert known.next() is None


def test_invented_ids_are_closer_than_those_that_exist() -> None:
    dht = network()
    target = position(KEY)
    usual = sorted(place ^ target for place in dht.positions.values())[len(dht.places) // 4]
    assert all(position(peer.multihash) ^ target < usual for peer, _ in invented(dht))
