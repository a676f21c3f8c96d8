"""Boots whose artifacts only peers of libp2p have."""

from __future__ import annotations

import pytest

from phase_boot.content.cid import Cid, Codec
from phase_boot.drill.fake_servers import FakeServer, server_with_chunks
from phase_boot.drill.sample_record import announcement, record
from phase_boot.drill.scenario import Scenario
from phase_boot.drill.scenarios import BOOTSTRAP, PROVIDER, RECORD_PATH, bitswap
from phase_boot.machine.graph import State
from phase_boot.url import Scope

RECORD_PEER = PROVIDER.rpartition("/")[2]
DHT_PEER = BOOTSTRAP.rpartition("/")[2]


def sources_of(scenario: Scenario) -> set[str]:
    return {event["source"] for event in scenario.of("fetch.done")}


def test_artifacts_come_from_peers_that_the_record_and_the_dht_name() -> None:
    scenario = bitswap()
    assert scenario.run() is State.TARGET
    assert sources_of(scenario) == {"bitswap"}
    peers = {peer.peer for _, asked in scenario.blocks.requests for peer in asked}
    assert peers == {RECORD_PEER, DHT_PEER}
    assert scenario.blocks.running == 0


def test_peers_are_asked_for_no_block_while_a_mirror_delivers() -> None:
    scenario = bitswap()
    scenario.fetcher.servers["http://mirror"] = server_with_chunks()
    assert scenario.run() is State.TARGET
    assert not scenario.blocks.requests
    assert not scenario.blocks.lookups


def test_what_the_mirror_sent_is_not_requested_again() -> None:
    scenario = bitswap()
    full = server_with_chunks()
    mirror = scenario.fetcher.servers["http://mirror"]
    lists = [path for path in full.files if path.startswith("dag/")]
    mirror.files |= {path: full.files[path] for path in lists}
    assert scenario.run() is State.TARGET
    assert sources_of(scenario) == {"bitswap"}


def test_a_peer_of_the_record_may_be_no_nearer_than_the_peers_of_the_policy() -> None:
    scenario = bitswap()
    scenario.run()
    assert {peer.nearest for _, asked in scenario.blocks.requests for peer in asked} == {
        Scope.PRIVATE
    }
    scenario = bitswap()
    scenario.platform.table["discovery"]["bootstrap"] = []
    scenario.run()
    asked = {peer for _, peers in scenario.blocks.requests for peer in peers}
    assert {(peer.peer, peer.nearest) for peer in asked} == {(RECORD_PEER, Scope.PUBLIC)}
    assert scenario.blocks.lookups == []


def test_blocks_that_no_peer_has_end_the_attempt_with_one_sentence() -> None:
    scenario = bitswap()
    scenario.blocks.blocks.clear()
    assert scenario.run() is State.OFF
    (reason,) = {
        event["reason"] for event in scenario.of("source.failed") if event["source"] == "bitswap"
    }
    assert reason == "the list of its chunks: 2 of 2 peers lack it"


def test_silent_peers_end_in_bounded_time() -> None:
    scenario = bitswap()
    scenario.blocks.hangs = True
    assert scenario.run() is State.OFF
    assert scenario.blocks.running == 0


def test_a_process_that_returns_another_block_is_used_no_more() -> None:
    scenario = bitswap()
    blocks = scenario.blocks.blocks
    for cid in list(blocks):
        blocks[cid] = bytes(len(blocks[cid]))
    assert scenario.run() is State.OFF
    fetches = [each for each in scenario.of("state.entered") if each["state"] == "fetch"]
    nodes = [cid for cid, _ in scenario.blocks.requests if cid.codec is Codec.DAG_PB]
    assert len(nodes) == len(fetches)


def _without_servers() -> Scenario:
    """Return a boot whose record names no mirror: peers alone have the manifest."""
    scenario = bitswap()
    manifest = scenario.fetcher.servers.pop("http://mirror").files["stable/amd64/manifest.json"]
    scenario.blocks.add_block(manifest)
    named = announcement(cid=Cid.of(Codec.RAW, manifest), mirrors=(), providers=(PROVIDER,))
    raw = record(announcement=named)
    scenario.fetcher.servers["http://router"] = FakeServer({RECORD_PATH: raw})
    return scenario


def test_manifest_and_artifacts_come_from_peers_alone() -> None:
    scenario = _without_servers()
    assert scenario.run() is State.TARGET
    assert sources_of(scenario) == {"bitswap"}
    (found,) = scenario.of("candidate.found")
    assert found["url"].startswith("ipfs://bafkrei")


def test_a_block_that_is_not_the_manifest_of_the_record_is_refused() -> None:
    scenario = _without_servers()
    blocks = scenario.blocks.blocks
    for cid in list(blocks):
        blocks[cid] = bytes(len(blocks[cid]))
    assert scenario.run() is State.OFF
    assert scenario.of("manifest.verified") == []
    (reason,) = {event["reason"] for event in scenario.of("candidate.refused")}
    assert reason == "another block came from peers"


def test_a_manifest_that_no_peer_has_ends_with_one_sentence() -> None:
    scenario = _without_servers()
    scenario.blocks.blocks.clear()
    assert scenario.run() is State.OFF
    (reason,) = {event["reason"] for event in scenario.of("candidate.refused")}
    assert reason == "2 of 2 peers lack it"


def test_private_asks_peers_only_where_its_policy_names_some() -> None:
    scenario = _without_servers()
    scenario.platform.table |= {"mode": "private", "cache_enabled": False}
    scenario.platform.table["discovery"]["bootstrap"] = []
    scenario.run()
    assert not scenario.blocks.requests


@pytest.mark.parametrize(
    "changes",
    [{"network": {"reach": "lan"}}],
    ids=["this network alone"],
)
def test_no_peer_is_asked_unless_the_policy_says_so(
    changes: dict[str, dict[str, object]],
) -> None:
    scenario = bitswap()
    for table, keys in changes.items():
        scenario.platform.table[table] |= keys
    assert scenario.run() is State.OFF
    assert not scenario.blocks.requests
    assert not scenario.blocks.lookups
