"""A machine boots over IPFS alone: the record and every byte come from kubo nodes.

The publisher's node puts the record into the DHT and holds the blocks. Another node, which a
policy names as router and gateway, finds both. The two know each other and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.announcing_publisher import (
    FILES,
    Publisher,
    announcing_publisher,
    dry_run,
    of,
)
from tests.support.kubo import KuboNode, kubo_node

pytestmark = pytest.mark.interop

NO_MIRROR = "http://192.0.2.1"
"""An address of documentation (RFC 5737), at which no machine is."""


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return announcing_publisher(tmp_path)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[KuboNode, KuboNode]]:
    with kubo_node(tmp_path / "holder") as holder, kubo_node(tmp_path / "gateway") as gateway:
        holder.connect(gateway)
        yield holder, gateway


def test_a_record_and_a_release_of_another_node_are_had_by_a_router_and_gateway(
    publisher: Publisher, nodes: tuple[KuboNode, KuboNode]
) -> None:
    holder, gateway = nodes
    publisher.announce("--mirror", NO_MIRROR, "--kubo", holder.api_url, "--import")
    servers = ["--router", gateway.routing_url, "--gateway", gateway.gateway_url]
    policy = publisher.policy(*servers)
    # The host's own network is not searched.
    policy.write_text(policy.read_text().replace('["lan", "wan", "url"]', '["wan"]'))

    status, events = dry_run(policy)
    assert status == 0, events
    (verified,) = of(events, "manifest.verified")
    assert verified["url"].startswith(f"{gateway.gateway_url}/ipfs/")
    assert {event["source"] for event in of(events, "fetch.done")} == {gateway.gateway_url}
    assert publisher.stored() == set(FILES.values())
    assert len(of(events, "record.accepted")) == 1


def test_a_record_that_only_peers_of_the_dht_have_leads_to_the_release(
    publisher: Publisher, tmp_path: Path
) -> None:
    without_routing = {"Routing.Type": "none"}
    with (
        kubo_node(tmp_path / "holder") as holder,
        kubo_node(tmp_path / "entry") as entry,
        kubo_node(tmp_path / "gateway", settings=without_routing) as gateway,
    ):
        holder.connect(entry)
        gateway.api("swarm/connect", holder.address)
        publisher.announce("--mirror", NO_MIRROR, "--kubo", holder.api_url, "--import")
        policy = publisher.policy("--bootstrap", entry.address, "--gateway", gateway.gateway_url)
        # The host's own network is not searched.
        policy.write_text(policy.read_text().replace('["lan", "wan", "url"]', '["wan"]'))
        status, events = dry_run(policy)
    assert status == 0, events
    ignored = [event["reason"] for event in of(events, "reply.ignored")]
    assert any(gateway.gateway_url in reason for reason in ignored)
    assert publisher.stored() == set(FILES.values())
    (accepted,) = of(events, "record.accepted")
    assert accepted["name"] in publisher.record().name


def test_peers_alone_have_the_record_the_manifest_and_every_artifact(
    publisher: Publisher, tmp_path: Path
) -> None:
    with kubo_node(tmp_path / "holder") as holder, kubo_node(tmp_path / "entry") as entry:
        holder.connect(entry)
        publisher.announce("--mirror", NO_MIRROR, "--kubo", holder.api_url, "--import")
        policy = publisher.policy("--bootstrap", entry.address)
        # The host's own network is not searched.
        policy.write_text(policy.read_text().replace('["lan", "wan", "url"]', '["wan"]'))
        status, events = dry_run(policy)
    assert status == 0, events
    (verified,) = of(events, "manifest.verified")
    assert verified["url"].startswith("ipfs://")
    assert {event["source"] for event in of(events, "fetch.done")} == {"bitswap"}
    assert publisher.stored() == set(FILES.values())
