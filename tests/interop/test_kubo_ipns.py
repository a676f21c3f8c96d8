"""kubo keeps and answers the IPNS records that we sign, and we read those that it signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from phase_boot.adapters.finders.ipns_http import RecordFinder
from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.announce.rounds import visit
from phase_boot.announce.servers import Kind, Limits, Server
from phase_boot.announce.sighting import State
from phase_boot.content.arch import Arch
from phase_boot.ports.finder import Candidate, DiscoveryQuery, RecordQuery
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import IpnsRecord, verify_record
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import Refusal
from policies.model import Reach
from tests.support.ipns_records import MIRROR, announcement
from tests.support.ipns_records import record as signed_record
from tests.support.kubo import Answer, CommandFailed, KuboNode, ask, kubo_node

pytestmark = pytest.mark.interop

NOW = datetime.now(UTC)
SEEDS = count(1)
LIMITS = Limits(seconds=20, kubo_seconds=20)


def new_seed() -> bytes:
    """Return the seed of a key that no node has seen."""
    return bytes([next(SEEDS)]) * 32


def new_key() -> SigningKey:
    return SigningKey(new_seed())


def record(key: SigningKey, sequence: int = 7) -> bytes:
    return signed_record(key, sequence=sequence, validity=NOW + timedelta(days=2))


def new_record() -> IpnsRecord:
    key = new_key()
    return verify_record(record(key), IpnsName(key.keyid), NOW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubo")


@pytest.fixture(scope="module")
def node(folder: Path) -> Iterator[KuboNode]:
    """Return a node without peers."""
    with kubo_node(folder / "alone") as made:
        yield made


@pytest.fixture(scope="module")
def pair(folder: Path) -> Iterator[tuple[KuboNode, KuboNode]]:
    """Return two nodes, each in the other's table of the DHT."""
    with kubo_node(folder / "one") as one, kubo_node(folder / "other") as other:
        one.connect(other)
        yield one, other


def answered(node: KuboNode, name: IpnsName) -> Answer:
    return ask(f"{node.routing_url}/routing/v1/ipns/{name}", Accept=RECORD_TYPE)


# ---- one node ------------------------------------------------------------------------------------


def by_routing(node: KuboNode, name: IpnsName, raw: bytes) -> None:
    node.api("routing/put", f"/ipns/{name}", file=raw, allow_offline="true")


def by_name(node: KuboNode, name: IpnsName, raw: bytes) -> None:
    node.api("name/put", str(name), file=raw, allow_offline="true")


def by_http(node: KuboNode, name: IpnsName, raw: bytes) -> None:
    url = f"{node.routing_url}/routing/v1/ipns/{name}"
    answer = ask(url, method="PUT", body=raw, Content_Type=RECORD_TYPE)
    if answer.status != 200:
        raise CommandFailed(f"{answer.status} {answer.body!r}")


Put = Callable[[KuboNode, IpnsName, bytes], None]
PUTS: tuple[Put, ...] = (by_routing, by_name, by_http)


@pytest.mark.parametrize("put", PUTS)
def test_kubo_takes_our_record_and_answers_it_byte_for_byte(node: KuboNode, put: Put) -> None:
    ours = new_record()
    put(node, ours.name, ours.raw)
    as_gateway = ask(f"{node.gateway_url}/ipns/{ours.name}?format=ipns-record")
    for answer in (answered(node, ours.name), as_gateway):
        assert (answer.status, answer.kind, answer.body) == (200, RECORD_TYPE, ours.raw)
        assert verify_record(answer.body, ours.name, NOW).announcement == announcement()


@pytest.mark.parametrize("put", PUTS)
def test_kubo_keeps_no_record_of_another_key(node: KuboNode, put: Put) -> None:
    name = IpnsName(new_key().keyid)
    # `routing put` answers 200 to it all the same.
    with nullcontext() if put is by_routing else pytest.raises(CommandFailed):
        put(node, name, new_record().raw)
    assert answered(node, name).kind != RECORD_TYPE


@pytest.mark.parametrize("put", PUTS)
def test_an_older_record_displaces_no_newer_one(node: KuboNode, put: Put) -> None:
    key = new_key()
    name, newest = IpnsName(key.keyid), record(key, sequence=7)
    put(node, name, newest)
    # Only `name put` says that it keeps another one.
    with pytest.raises(CommandFailed) if put is by_name else nullcontext():
        put(node, name, record(key, sequence=6))
    assert answered(node, name).body == newest


def test_the_answer_for_an_absent_name_is_no_record(node: KuboNode) -> None:
    name = IpnsName(new_key().keyid)
    answer = answered(node, name)
    assert answer.kind != RECORD_TYPE
    with pytest.raises(Refusal) as refused:
        verify_record(answer.body, name, NOW)
    assert refused.value.code == "record.malformed"


def test_a_record_that_kubo_signed_lacks_our_announcement_alone(node: KuboNode) -> None:
    seed = new_seed()
    key = SigningKey(seed)
    name = IpnsName(key.keyid)
    # libp2p's PrivateKey message: type 1 (Ed25519), and 64 bytes of data.
    secret = b"\x08\x01\x12\x40" + seed + bytes.fromhex(key.keyid.partition(":")[2])
    node.api("key/import", "publisher", file=secret, format="libp2p-protobuf-cleartext")
    path = f"/ipfs/{node.add(b'a file')}"
    node.api("name/publish", path, key="publisher", resolve="false", allow_offline="true")
    answer = answered(node, name)
    assert (answer.status, answer.kind) == (200, RECORD_TYPE)
    with pytest.raises(Refusal) as refused:
        verify_record(answer.body, name, datetime.now(UTC))
    assert refused.value.code == "document.bad-field"
    assert "_phase_boot" in str(refused.value)
    changed = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
    with pytest.raises(Refusal) as refused:
        verify_record(changed, name, datetime.now(UTC))
    assert refused.value.code == "record.bad-signature"


async def test_announcing_to_a_node_without_peers_is_reported(node: KuboNode) -> None:
    ours = new_record()
    (seen,) = await visit([Server(Kind.KUBO, node.api_url)], ours, LIMITS, sends=True)
    assert (seen.state, seen.record) == (State.HELD, ours)


@pytest.mark.parametrize("kind", list(Kind))
async def test_looking_for_an_absent_record_finds_none(node: KuboNode, kind: Kind) -> None:
    (seen,) = await visit([server_of(node, kind)], new_record(), LIMITS, sends=False)
    # kubo's gateway answers HTTP 500 to it, and its router 200 with a sentence.
    assert seen.state is State.ABSENT
    assert seen.record is None


def server_of(node: KuboNode, kind: Kind) -> Server:
    return Server(kind, node.api_url if kind is Kind.KUBO else node.gateway_url)


# ---- two nodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.KUBO, Kind.ROUTER])
async def test_a_record_that_is_announced_to_one_node_is_at_the_other_one(
    pair: tuple[KuboNode, KuboNode], kind: Kind
) -> None:
    one, other = pair
    ours = new_record()
    (seen,) = await visit([server_of(one, kind)], ours, LIMITS, sends=True)
    assert (seen.state, seen.record) == (State.OURS, ours)
    servers = [server_of(other, each) for each in Kind]
    found = await visit(servers, ours, LIMITS, sends=False)
    assert [each.state for each in found] == [State.OURS] * len(Kind)


@pytest.mark.parametrize("kind", [Kind.ROUTER, Kind.GATEWAY])
async def test_a_machine_finds_the_announced_mirror_by_the_other_node(
    pair: tuple[KuboNode, KuboNode], kind: Kind
) -> None:
    one, other = pair
    ours = new_record()
    await visit([server_of(one, Kind.KUBO)], ours, LIMITS, sends=True)
    query = DiscoveryQuery(
        arch=Arch.AMD64,
        channel="stable",
        seconds=15,
        urls=(),
        records=RecordQuery(
            names=(ours.name,),
            routers=(other.routing_url,) if kind is Kind.ROUTER else (),
            gateways=(other.gateway_url,) if kind is Kind.GATEWAY else (),
            now=NOW,
            reach=Reach.INTERNET,
            redirects=0,
        ),
    )
    http = HttpFetcher()
    try:
        found = [each async for each in RecordFinder(http).find(query)]
    finally:
        await http.close()
    assert isinstance(found[0], Candidate), found
    assert (found[0].url, found[0].record) == (MIRROR, ours)
