"""kubo keeps and answers the IPNS records that we sign, and we read those that it signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, Codec
from phase_boot.trust.announcement import Announcement, Place
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import make_record, verify_record
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import Refusal
from tests.support.kubo import Answer, CommandFailed, KuboNode, ask, kubo_node

pytestmark = pytest.mark.interop

RECORD = "application/vnd.ipfs.ipns-record"
NOW = datetime.now(UTC)
MANIFEST = Cid.of(Codec.RAW, b"a manifest")
ANNOUNCED = Announcement(
    {
        ("stable", Arch.AMD64): Place(
            MANIFEST,
            mirrors=("https://mirror.example/stable/amd64/manifest.json",),
            providers=("/dns4/seed.example/tcp/443/tls/http",),
        )
    }
)
SEEDS = count(1)


def new_seed() -> bytes:
    """Return the seed of a key that the node has not seen."""
    return bytes([next(SEEDS)]) * 32


def record(key: SigningKey, sequence: int = 1, value: str = f"/ipfs/{MANIFEST}") -> bytes:
    return make_record(
        key,
        value=value,
        announcement=ANNOUNCED,
        sequence=sequence,
        validity=NOW + timedelta(days=2),
        ttl_seconds=300,
    )


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KuboNode]:
    with kubo_node(tmp_path_factory.mktemp("kubo") / "repo") as made:
        yield made


def answered(node: KuboNode, name: IpnsName) -> Answer:
    return ask(f"{node.routing_url}/routing/v1/ipns/{name}", Accept=RECORD)


def by_routing(node: KuboNode, name: IpnsName, raw: bytes) -> None:
    node.api("routing/put", f"/ipns/{name}", file=raw, allow_offline="true")


def by_name(node: KuboNode, name: IpnsName, raw: bytes) -> None:
    node.api("name/put", str(name), file=raw, allow_offline="true")


def by_http(node: KuboNode, name: IpnsName, raw: bytes) -> None:
    url = f"{node.routing_url}/routing/v1/ipns/{name}"
    answer = ask(url, method="PUT", body=raw, Content_Type=RECORD)
    if answer.status != 200:
        raise CommandFailed(f"{answer.status} {answer.body!r}")


Put = Callable[[KuboNode, IpnsName, bytes], None]
PUTS: tuple[Put, ...] = (by_routing, by_name, by_http)


@pytest.mark.parametrize("put", PUTS)
def test_kubo_takes_our_record_and_answers_it_byte_for_byte(node: KuboNode, put: Put) -> None:
    key = SigningKey(new_seed())
    name, raw = IpnsName(key.keyid), record(key)
    put(node, name, raw)
    answer = answered(node, name)
    assert (answer.status, answer.kind, answer.body) == (200, RECORD, raw)
    assert verify_record(answer.body, name, NOW).announcement == ANNOUNCED
    other = ask(f"{node.gateway_url}/ipns/{name}?format=ipns-record")
    assert (other.status, other.kind, other.body) == (200, RECORD, raw)


@pytest.mark.parametrize("put", PUTS)
def test_kubo_keeps_no_record_of_another_key(node: KuboNode, put: Put) -> None:
    name = IpnsName(SigningKey(new_seed()).keyid)
    # `routing put` answers 200 to it all the same.
    with nullcontext() if put is by_routing else pytest.raises(CommandFailed):
        put(node, name, record(SigningKey(new_seed())))
    assert answered(node, name).kind != RECORD


@pytest.mark.parametrize("put", PUTS)
def test_an_older_record_displaces_no_newer_one(node: KuboNode, put: Put) -> None:
    key = SigningKey(new_seed())
    name, newest = IpnsName(key.keyid), record(key, sequence=7)
    put(node, name, newest)
    # Only `name put` says that it keeps another one.
    with pytest.raises(CommandFailed) if put is by_name else nullcontext():
        put(node, name, record(key, sequence=6))
    assert answered(node, name).body == newest


def test_the_answer_for_an_absent_name_is_no_record(node: KuboNode) -> None:
    name = IpnsName(SigningKey(new_seed()).keyid)
    answer = answered(node, name)
    assert answer.kind != RECORD
    with pytest.raises(Refusal) as refused:
        verify_record(answer.body, name, NOW)
    assert refused.value.code == "record.malformed"


def test_a_record_that_kubo_signed_lacks_our_announcement_alone(node: KuboNode) -> None:
    seed = new_seed()
    key = SigningKey(seed)
    name = IpnsName(key.keyid)
    # libp2p's PrivateKey message: type 1 (Ed25519), and 64 bytes of data.
    public = bytes.fromhex(key.keyid.partition(":")[2])
    secret = b"\x08\x01\x12\x40" + seed + public
    node.api("key/import", "publisher", file=secret, format="libp2p-protobuf-cleartext")
    cid = node.add(b"a file")
    node.api("name/publish", f"/ipfs/{cid}", key="publisher", resolve="false", allow_offline="true")
    answer = answered(node, name)
    assert (answer.status, answer.kind) == (200, RECORD)
    with pytest.raises(Refusal) as refused:
        verify_record(answer.body, name, datetime.now(UTC))
    assert refused.value.code == "document.bad-field"
    assert "_phase_boot" in str(refused.value)
    changed = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
    with pytest.raises(Refusal) as refused:
        verify_record(changed, name, datetime.now(UTC))
    assert refused.value.code == "record.bad-signature"
