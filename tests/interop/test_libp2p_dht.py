"""Our look-ups in a DHT of real kubo nodes."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from image import recipe
from phase_boot.libp2p_node.unused_modules import UNUSED
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import verify_record
from phase_boot.trust.keys import SigningKey
from tests.support.ipns_records import record as signed_record
from tests.support.kubo import KuboNode, kubo_node
from tests.support.libp2p_process import libp2p_process
from tests.support.slow_link import slow_link
from tests.support.swarm import Behaviour, running_swarm

pytestmark = pytest.mark.interop

NODES = 4
RUN = "from phase_boot.libp2p_node.__main__ import main; main()"


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[KuboNode]]:
    """Run nodes that are all connected with the first."""
    folder = tmp_path_factory.mktemp("swarm")
    with ExitStack() as stack:
        nodes = [stack.enter_context(kubo_node(folder / f"{n}")) for n in range(NODES)]
        for node in nodes[1:]:
            node.connect(nodes[0])
        yield nodes


def record_of(key: SigningKey) -> bytes:
    return signed_record(key, validity=datetime.now(UTC) + timedelta(hours=48))


def put(node: KuboNode, key: SigningKey, sequence: int) -> bytes:
    """Publish a record into the DHT of a node."""
    validity = datetime.now(UTC) + timedelta(hours=48)
    raw = signed_record(key, sequence=sequence, validity=validity)
    node.api("name/put", str(IpnsName(key.keyid)), file=raw)
    return raw


def test_a_record_is_found_from_one_peer_of_the_dht(swarm: list[KuboNode]) -> None:
    key = SigningKey(b"\x61" * 32)
    name = IpnsName(key.keyid)
    raw = put(swarm[1], key, 7)
    with libp2p_process() as node:
        answers = node.ask(op="record", name=str(name), bootstrap=[swarm[2].address], seconds=10)
    records = {base64.b64decode(each["record"]) for each in answers if "record" in each}
    assert [verify_record(each, name, datetime.now(UTC)).sequence for each in records] == [7]
    assert records == {raw}
    answered = {each["answered"] for each in answers if "answered" in each}
    assert answered == {each.address for each in swarm}
    assert answers[-1]["end"] == {"peers": NODES, "refused": 0}


def test_the_providers_of_a_block_are_found(swarm: list[KuboNode]) -> None:
    cid = swarm[3].add(b"a block of the provider")
    swarm[3].api("routing/provide", cid)
    with libp2p_process() as node:
        answers = node.ask(op="providers", cid=cid, bootstrap=[swarm[1].address], seconds=10)
    providers = [each["provider"] for each in answers if "provider" in each]
    address, _, peer = swarm[3].address.partition("/p2p/")
    assert [each["peer"] for each in providers] == [peer]
    assert address in providers[0]["addresses"]


def test_a_peer_that_takes_longer_than_one_dial_is_asked_with_more_time(
    swarm: list[KuboNode],
) -> None:
    key = SigningKey(b"\x62" * 32)
    raw = put(swarm[1], key, 7)
    host, _, peer = swarm[2].address.partition("/p2p/")
    with libp2p_process() as node, slow_link(int(host.rpartition("/")[2]), 0.3) as port:
        late = f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"
        name = str(IpnsName(key.keyid))
        answers = node.ask(op="record", name=name, bootstrap=[late], seconds=20)
    assert base64.b64encode(raw).decode() in {each.get("record") for each in answers}
    assert answers[-1]["end"]["refused"] > 0


@pytest.mark.parametrize("shares", [{}, {Behaviour.RSA: 1.0}], ids=["ed25519", "RSA"])
def test_a_peer_is_asked_without_a_library_that_the_seed_lacks(
    shares: dict[Behaviour, float],
) -> None:
    kept = {each.partition(".")[0] for each in (*UNUSED, "varint")}
    lacking = {name.replace("-", "_") for name in recipe.UNUSED_BY_LIBP2P} - kept
    key = SigningKey(b"\x63" * 32)
    program = f"import sys; sys.modules.update(dict.fromkeys({sorted(lacking)!r})); {RUN}"
    with (
        running_swarm(1, shares=shares) as peers,
        libp2p_process(words=[sys.executable, "-c", program]) as node,
    ):
        peers.place(str(IpnsName(key.keyid)), record_of(key), peers.peers)
        answers = node.ask(
            op="record",
            name=str(IpnsName(key.keyid)),
            bootstrap=[peers.peers[0].address],
            seconds=10,
        )
    assert answers[-1]["end"] == {"peers": 1, "refused": 0}
