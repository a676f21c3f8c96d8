"""The finder of the DHT among real DHT servers of go-libp2p, many of which have faults."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from phase_boot.adapters.finders.dht import DhtFinder
from phase_boot.adapters.wan.libp2p_client import Libp2pClient
from phase_boot.content.arch import Arch
from phase_boot.ports.dht import DhtPeer
from phase_boot.ports.finder import Candidate, DiscoveryQuery, Ignored, RecordQuery
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import IpnsRecord, read_record
from phase_boot.trust.keys import SigningKey
from policies.model import Reach
from tests.support.ipns_records import OTHER_KEY, announcement, record
from tests.support.swarm import HOSTILE, WAN, Behaviour, Swarm, SwarmPeer, running_swarm

pytestmark = pytest.mark.interop

PEERS = 60
SEEDS = count(101)
NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=2)
NOWHERE = "/ip4/127.0.0.1/tcp/1"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Swarm]:
    with running_swarm(PEERS, shares=HOSTILE) as swarm:
        yield swarm


@pytest.fixture
def key() -> SigningKey:
    return SigningKey(bytes([next(SEEDS)]) * 32)


@asynccontextmanager
async def client() -> AsyncGenerator[Libp2pClient, None]:
    made = Libp2pClient()
    try:
        yield made
    finally:
        await made.stop()


def at(sequence: int) -> str:
    """Return the URL that the record with this sequence names."""
    return f"https://mirror{sequence}.example/stable/amd64/manifest.json"


def signed(key: SigningKey, sequence: int, validity: datetime = LATER) -> bytes:
    where = announcement(mirrors=(at(sequence),))
    return record(key, sequence=sequence, validity=validity, announcement=where)


def query(
    key: SigningKey, bootstrap: Sequence[str], newest: tuple[IpnsRecord, ...] = ()
) -> DiscoveryQuery:
    return DiscoveryQuery(
        arch=Arch.AMD64,
        channel="stable",
        seconds=15,
        urls=(),
        records=RecordQuery(
            names=(IpnsName(key.keyid),),
            routers=(),
            gateways=(),
            now=datetime.now(UTC),
            reach=Reach.INTERNET,
            redirects=5,
            newest=newest,
            bootstrap=tuple(bootstrap),
        ),
    )


async def found(asked: DiscoveryQuery) -> tuple[list[str], list[str]]:
    """Return the URLs of the candidates, and why records were ignored."""
    async with client() as dht:
        answers = [each async for each in DhtFinder(dht).find(asked)]
    urls = [each.url for each in answers if isinstance(each, Candidate)]
    return urls, [each.reason for each in answers if isinstance(each, Ignored)]


def addresses(peers: Sequence[SwarmPeer]) -> list[str]:
    return [peer.address for peer in peers]


async def test_a_record_is_found_among_peers_that_lie_hang_and_vanish(
    hostile: Swarm, key: SigningKey
) -> None:
    hostile.put(str(IpnsName(key.keyid)), signed(key, 7))
    for entry in hostile.of(Behaviour.HONEST)[:3]:
        urls, _ = await found(query(key, [entry.address]))
        assert urls == [at(7)]


async def test_forged_expired_and_older_records_never_count(
    hostile: Swarm, key: SigningKey
) -> None:
    name = IpnsName(key.keyid)
    bad = [
        signed(OTHER_KEY, 99),
        signed(key, 98, NOW - timedelta(seconds=1)),
        signed(key, 9)[:-1] + b"\x01",
        signed(key, 3),
    ]
    hostile.put(str(name), signed(key, 7))
    hostile.lie(str(name), *bad)
    liars = addresses(hostile.of(Behaviour.LIES)[:5])
    newest = (read_record(signed(key, 5), name),)
    urls, _ = await found(query(key, [*liars, hostile.of(Behaviour.HONEST)[0].address], newest))
    assert urls == [at(7)]
    urls, reasons = await found(query(key, liars[:1], (read_record(signed(key, 8), name),)))
    assert urls == []
    assert reasons


async def test_one_bootstrap_peer_that_answers_is_enough(hostile: Swarm, key: SigningKey) -> None:
    hostile.put(str(IpnsName(key.keyid)), signed(key, 7))
    gone = [f"{NOWHERE}/p2p/{peer.id}" for peer in hostile.of(Behaviour.LIES)[:6]]
    mute = addresses(hostile.of(Behaviour.HANGS)[:4])
    closing = addresses(hostile.of(Behaviour.VANISHES)[:4])
    honest = hostile.of(Behaviour.HONEST)[1].address
    urls, _ = await found(query(key, [*gone, *mute, *closing, honest]))
    assert urls == [at(7)]


async def test_an_eclipse_of_all_bootstrap_peers_ends_with_a_reason(
    hostile: Swarm, key: SigningKey
) -> None:
    hostile.put(str(IpnsName(key.keyid)), signed(key, 7))
    urls, (reason,) = await found(query(key, addresses(hostile.of(Behaviour.VANISHES)[:4])))
    assert urls == []
    assert "no peer has a record" in reason


async def test_bootstrap_peers_with_rsa_keys_are_enough(key: SigningKey) -> None:
    with running_swarm(8, shares={Behaviour.RSA: 0.5}) as swarm:
        swarm.put(str(IpnsName(key.keyid)), signed(key, 7))
        entries = addresses(swarm.of(Behaviour.RSA))
        assert all("/p2p/Qm" in entry for entry in entries)
        urls, _ = await found(query(key, entries))
    assert urls == [at(7)]


async def test_peers_without_encryption_are_refused(key: SigningKey) -> None:
    with running_swarm(4, shares={Behaviour.PLAINTEXT: 1}) as swarm:
        swarm.put(str(IpnsName(key.keyid)), signed(key, 7))
        urls, (reason,) = await found(query(key, addresses(swarm.peers)))
    assert urls == []
    assert "no peer has a record" in reason


async def test_the_dht_of_public_networks_is_spoken_too(key: SigningKey) -> None:
    with running_swarm(8, prefix=WAN) as swarm:
        swarm.put(str(IpnsName(key.keyid)), signed(key, 7))
        urls, _ = await found(query(key, [swarm.peers[0].address]))
    assert urls == [at(7)]


async def test_a_peer_under_a_wrong_id_is_refused(hostile: Swarm, key: SigningKey) -> None:
    one, other = hostile.of(Behaviour.HONEST)[:2]
    hostile.put(str(IpnsName(key.keyid)), signed(key, 7))
    claimed = f"{one.address.partition('/p2p/')[0]}/p2p/{other.id}"
    urls, _ = await found(query(key, [claimed]))
    assert urls == []


async def test_a_process_that_is_killed_during_a_look_up_is_started_again(
    hostile: Swarm, key: SigningKey
) -> None:
    name = IpnsName(key.keyid)
    hostile.put(str(name), signed(key, 7))
    entry = hostile.of(Behaviour.HONEST)[0].address
    async with client() as dht:
        async with aclosing(dht.records(name, (entry,), 3)) as replies:
            assert isinstance(await anext(replies), DhtPeer)
            assert kill_process() == 1
            later = [each async for each in replies]
        assert any(isinstance(each, DhtPeer) for each in later)
        answers = [each async for each in DhtFinder(dht).find(query(key, [entry]))]
    assert [each.url for each in answers if isinstance(each, Candidate)] == [at(7)]


def kill_process() -> int:
    """Kill the children of this process that speak libp2p, and return their number."""
    children = Path("/proc/self/task", str(os.getpid()), "children").read_text().split()
    speaking = [pid for pid in map(int, children) if b"libp2p_node" in cmdline(pid)]
    for pid in speaking:
        os.kill(pid, signal.SIGKILL)
    return len(speaking)


def cmdline(pid: int) -> bytes:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


async def test_look_ups_of_several_names_share_the_process(hostile: Swarm, key: SigningKey) -> None:
    other = SigningKey(bytes([next(SEEDS)]) * 32)
    for each in (key, other):
        hostile.put(str(IpnsName(each.keyid)), signed(each, 7))
    entry = hostile.of(Behaviour.HONEST)[0].address
    async with client() as dht:
        finder = DhtFinder(dht)

        async def one(each: SigningKey) -> list[Candidate | Ignored]:
            return [answer async for answer in finder.find(query(each, [entry]))]

        answers = await asyncio.gather(one(key), one(other))
    assert all(any(isinstance(each, Candidate) for each in found) for found in answers)
