"""Our look-ups among DHT servers of go-libp2p that lie, hang, vanish or offer no encryption.

The process returns what peers answer. Its parent verifies, so a test counts the records that are
verified, as the parent does.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import verify_record
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import Refusal
from tests.support.ipns_records import record
from tests.support.libp2p_process import libp2p_process
from tests.support.swarm import HOSTILE, Behaviour, Swarm, SwarmPeer, running_swarm

pytestmark = pytest.mark.interop

SECONDS = 10
SEEDS = count(1)
LATER = datetime.now(UTC) + timedelta(days=2)
OLD, NEW = 6, 7
"""Sequence numbers."""
ADDRESSES = {
    "IPv4 alone": ("/ip4/127.0.0.1/tcp/0",),
    "IPv6 alone": ("/ip6/::1/tcp/0",),
    "half and half": ("/ip4/127.0.0.1/tcp/0", "/ip6/::1/tcp/0"),
}


@dataclass
class Publisher:
    """An announcing key that no peer has seen, and its records."""

    key: SigningKey = field(default_factory=lambda: SigningKey(bytes([next(SEEDS)]) * 32))

    @property
    def name(self) -> str:
        return str(IpnsName(self.key.keyid))

    def record(self, sequence: int = NEW, **changes: datetime) -> bytes:
        return record(self.key, sequence=sequence, **{"validity": LATER, **changes})

    def sequence(self, raw: bytes) -> int | None:
        """Return the sequence number of a record that a machine accepts."""
        try:
            return verify_record(raw, IpnsName(self.key.keyid), datetime.now(UTC)).sequence
        except Refusal:
            return None


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture(scope="module")
def hostile() -> Iterator[Swarm]:
    with running_swarm(100, shares=HOSTILE) as made:
        yield made


@dataclass
class Outcome:
    """What a look-up returned: accepted sequence numbers in order, and who answered."""

    sequences: list[int] = field(default_factory=list)
    refused: int = 0
    answered: set[str] = field(default_factory=set)
    ended: bool = False


def looked_up(
    publisher: Publisher, bootstrap: Sequence[SwarmPeer], until: int | None = NEW
) -> Outcome:
    """Look a record up from these peers, to the end or until a sequence number was seen."""
    outcome = Outcome()
    addresses = [peer.address for peer in bootstrap]
    with libp2p_process() as process:
        process.send(id=1, op="record", name=publisher.name, bootstrap=addresses, seconds=SECONDS)
        while until not in outcome.sequences:
            answer = process.receive()
            if "end" in answer:
                assert "error" not in answer["end"]
                outcome.ended = True
                break
            if "answered" in answer:
                outcome.answered.add(answer["answered"].rpartition("/")[2])
            if "record" in answer:
                sequence = publisher.sequence(base64.b64decode(answer["record"]))
                outcome.refused += sequence is None
                outcome.sequences += [] if sequence is None else [sequence]
    return outcome


def ids(peers: Sequence[SwarmPeer]) -> set[str]:
    return {peer.id for peer in peers}


def test_the_record_is_found_among_liars_and_silent_peers(
    hostile: Swarm, publisher: Publisher
) -> None:
    hostile.put(publisher.name, publisher.record())
    expired = publisher.record(validity=datetime.now(UTC) - timedelta(days=1))
    hostile.lie(publisher.name, publisher.record(OLD), expired, Publisher().record())
    outcome = looked_up(publisher, hostile.of(Behaviour.HONEST)[:3])
    assert outcome.sequences[-1] == NEW
    assert set(outcome.sequences) <= {OLD, NEW}


def test_the_record_is_found_where_all_named_peers_but_one_lie(
    hostile: Swarm, publisher: Publisher
) -> None:
    hostile.put(publisher.name, publisher.record())
    hostile.lie(publisher.name, publisher.record(OLD))
    bootstrap = [*hostile.of(Behaviour.LIES)[:9], hostile.of(Behaviour.HONEST)[0]]
    outcome = looked_up(publisher, bootstrap)
    assert outcome.sequences[-1] == NEW


@pytest.mark.parametrize("behaviour", [Behaviour.HANGS, Behaviour.VANISHES])
def test_the_record_is_found_where_all_named_peers_but_one_are_silent(
    hostile: Swarm, publisher: Publisher, behaviour: Behaviour
) -> None:
    hostile.put(publisher.name, publisher.record())
    bootstrap = [*hostile.of(behaviour)[:9], hostile.of(Behaviour.HONEST)[0]]
    outcome = looked_up(publisher, bootstrap)
    assert outcome.sequences == [NEW]
    assert not outcome.answered & ids(hostile.of(behaviour))


def test_where_all_peers_lie_no_record_is_accepted(publisher: Publisher) -> None:
    with running_swarm(20, shares={Behaviour.LIES: 1.0}) as swarm:
        expired = publisher.record(validity=datetime.now(UTC) - timedelta(days=1))
        swarm.lie(publisher.name, expired, Publisher().record(), publisher.record()[:-1])
        outcome = looked_up(publisher, swarm.peers)
    assert outcome.ended
    assert outcome.sequences == []
    assert outcome.refused


def test_peers_without_encryption_are_not_asked(publisher: Publisher) -> None:
    with running_swarm(40, shares={Behaviour.PLAINTEXT: 0.5}) as swarm:
        swarm.put(publisher.name, publisher.record())
        plain = swarm.of(Behaviour.PLAINTEXT)
        outcome = looked_up(publisher, [*plain[:5], *swarm.of(Behaviour.HONEST)[:1]], until=None)
    assert outcome.ended
    assert set(outcome.sequences) == {NEW}
    assert not outcome.answered & ids(plain)


def test_a_dht_without_encryption_gives_no_record(publisher: Publisher) -> None:
    with running_swarm(3, shares={Behaviour.PLAINTEXT: 1.0}) as swarm:
        outcome = looked_up(publisher, swarm.peers)
    assert outcome.ended
    assert outcome.answered == set()


def test_the_record_is_found_from_peers_with_rsa_keys_alone(publisher: Publisher) -> None:
    with running_swarm(20, shares={Behaviour.RSA: 0.2}) as swarm:
        swarm.put(publisher.name, publisher.record())
        bootstrap = swarm.of(Behaviour.RSA)
        outcome = looked_up(publisher, bootstrap, until=None)
    assert set(outcome.sequences) == {NEW}
    assert outcome.answered & ids(bootstrap)


def test_a_newer_record_is_found_after_an_older_one(publisher: Publisher) -> None:
    with running_swarm(20) as swarm:
        fast, late = swarm.peers[:17], swarm.peers[17:]
        swarm.place(publisher.name, publisher.record(OLD), fast)
        swarm.place(publisher.name, publisher.record(NEW), late)
        swarm.slow(1000, late)
        outcome = looked_up(publisher, fast[:3])
    assert outcome.sequences[0] == OLD
    assert outcome.sequences[-1] == NEW


@pytest.mark.parametrize("listen", ADDRESSES.values(), ids=ADDRESSES)
def test_the_record_is_found_by_each_ip_version(
    publisher: Publisher, listen: tuple[str, ...]
) -> None:
    with running_swarm(40, listen=listen) as swarm:
        swarm.put(publisher.name, publisher.record())
        outcome = looked_up(publisher, swarm.peers[:2], until=None)
    assert outcome.ended
    assert outcome.sequences == [NEW] * 20
