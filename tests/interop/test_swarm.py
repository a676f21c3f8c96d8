"""A hundred DHT servers in one process, and kubo, which finds records in them despite faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from phase_boot.content.cid import Cid, Codec
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.keys import SigningKey
from tests.support.ipns_records import VALUE, record
from tests.support.kubo import KuboNode, ask, kubo_node
from tests.support.swarm import HOSTILE, Behaviour, Swarm, SwarmError, running_swarm

pytestmark = pytest.mark.interop

PEERS = 100
CLOSEST = 20
"""Peers that store a record: the bucket size of the DHT."""
OTHER_VALUE = f"/ipfs/{Cid.of(Codec.RAW, b'an older manifest')}"
SEEDS = count(1)
LATER = datetime.now(UTC) + timedelta(days=2)


def new_key() -> SigningKey:
    return SigningKey(bytes([next(SEEDS)]) * 32)


@pytest.fixture(scope="module")
def swarm() -> Iterator[Swarm]:
    with running_swarm(PEERS) as made:
        yield made


@pytest.fixture(scope="module")
def hostile() -> Iterator[Swarm]:
    with running_swarm(PEERS, shares=HOSTILE) as made:
        yield made


def joined(node: KuboNode, swarm: Swarm) -> None:
    """Connect a node with three honest peers."""
    for peer in swarm.of(Behaviour.HONEST)[:3]:
        node.api("swarm/connect", peer.address)


def test_all_peers_have_a_peer_id_and_an_address_of_their_own(swarm: Swarm) -> None:
    assert len({peer.id for peer in swarm.peers}) == PEERS
    assert len({peer.address for peer in swarm.peers}) == PEERS


def test_the_same_seed_gives_the_same_peers(swarm: Swarm) -> None:
    with running_swarm(PEERS) as other:
        assert [peer.id for peer in other.peers] == [peer.id for peer in swarm.peers]


def test_the_shares_of_faults_are_as_asked(hostile: Swarm) -> None:
    found = {behaviour: len(hostile.of(behaviour)) for behaviour in Behaviour}
    assert found[Behaviour.LIES] == 30
    assert found[Behaviour.HANGS] == 20
    assert found[Behaviour.VANISHES] == 10
    assert found[Behaviour.HONEST] == 40


def test_kubo_joins_and_finds_the_record_that_was_put(swarm: Swarm, tmp_path: Path) -> None:
    key = new_key()
    name = IpnsName(key.keyid)
    ours = record(key, validity=LATER)
    assert len(swarm.put(str(name), ours)) == CLOSEST
    with kubo_node(tmp_path / "repo") as node:
        joined(node, swarm)
        answer = ask(f"{node.routing_url}/routing/v1/ipns/{name}", Accept=RECORD_TYPE)
    assert (answer.status, answer.kind, answer.body) == (200, RECORD_TYPE, ours)


def test_kubo_finds_the_record_among_liars_and_silent_peers(hostile: Swarm, tmp_path: Path) -> None:
    key = new_key()
    name = IpnsName(key.keyid)
    assert len(hostile.put(str(name), record(key, validity=LATER))) == CLOSEST
    old = record(key, sequence=6, validity=LATER, value=OTHER_VALUE)
    hostile.lie(str(name), old, record(new_key(), validity=LATER))
    with kubo_node(tmp_path / "repo") as node:
        joined(node, hostile)
        # By default kubo waits for 16 records, and so for all of the silent peers.
        found = json.loads(
            node.api("name/resolve", str(name), dht_record_count="4", recursive="false")
        )
    assert found == {"Path": VALUE}


def test_a_forged_record_is_not_stored(swarm: Swarm) -> None:
    key, other = new_key(), new_key()
    with pytest.raises(SwarmError, match="signature"):
        swarm.put(str(IpnsName(key.keyid)), record(other, validity=LATER))
    with pytest.raises(SwarmError):
        swarm.place(str(IpnsName(key.keyid)), record(other, validity=LATER), swarm.peers[:1])


def test_the_program_ends_with_its_input() -> None:
    with running_swarm(3) as other:
        assert other.process.stdin is not None
        other.process.stdin.close()
        assert other.process.wait(20) == 0
