"""Boots by a record that peers of a DHT have."""

from __future__ import annotations

import pytest

from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.sample_manifest import UNTRUSTED_KEY
from phase_boot.drill.sample_record import ANNOUNCER, record
from phase_boot.drill.scenarios import BOOTSTRAP, RECORD_PATH, dht
from phase_boot.machine.graph import State
from phase_boot.trust.ipns_name import IpnsName


def test_a_record_of_the_dht_leads_to_the_mirror_and_the_process_ends_before_the_jump() -> None:
    scenario = dht()
    assert scenario.run() is State.TARGET
    assert scenario.dht.lookups == [(IpnsName(ANNOUNCER.keyid), (BOOTSTRAP,))]
    assert (scenario.dht.running, scenario.dht.stops) == (0, 1)
    (accepted,) = scenario.of("record.accepted")
    assert accepted["sequence"] == 7
    (found,) = scenario.of("candidate.found")
    assert found["finder"] == "wan"


def test_a_provider_of_this_network_makes_a_look_up_needless() -> None:
    scenario = dht()
    scenario.fetcher.servers["http://peer"] = good_server()
    scenario.lan_urls = ["http://peer/stable/amd64/manifest.json"]
    assert scenario.run() is State.TARGET
    assert scenario.dht.lookups == []


@pytest.mark.parametrize(
    "changes",
    [
        {"discovery": {"bootstrap": []}},
        {"discovery": {"order": ["lan", "url"]}},
        {"network": {"reach": "lan"}},
    ],
    ids=["no bootstrap peer", "no wan", "this network alone"],
)
def test_no_dht_is_asked_unless_the_policy_says_so(changes: dict[str, dict[str, object]]) -> None:
    scenario = dht()
    for table, keys in changes.items():
        scenario.platform.table[table] |= keys
    assert scenario.run() is State.OFF
    assert scenario.dht.lookups == []


def test_peers_that_lie_lead_nowhere_and_are_named() -> None:
    scenario = dht()
    scenario.dht.peers = [record(key=UNTRUSTED_KEY)] * 5
    scenario.run()
    assert scenario.of("candidate.found") == scenario.of("record.accepted") == []
    assert any("the DHT, k51" in event["reason"] for event in scenario.of("reply.ignored"))


def test_a_record_of_a_server_makes_a_look_up_needless() -> None:
    scenario = dht()
    scenario.fetcher.servers["http://router"] = FakeServer({RECORD_PATH: record()})
    scenario.platform.table["discovery"]["routers"] = ["http://router"]
    assert scenario.run() is State.TARGET
    assert scenario.dht.lookups == []


def test_a_public_peer_is_asked_where_no_server_has_the_record() -> None:
    scenario = dht()
    rules = scenario.platform.table["discovery"]
    public = {"routers": ["http://router"], "gateways": [], "bootstrap": rules["bootstrap"]}
    scenario.platform.table["public"] = public
    rules["bootstrap"] = []
    scenario.fetcher.servers["http://router"] = FakeServer({})
    assert scenario.run() is State.TARGET
    assert scenario.dht.lookups == [(IpnsName(ANNOUNCER.keyid), (BOOTSTRAP,))]
