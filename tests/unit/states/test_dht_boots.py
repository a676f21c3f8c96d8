"""Boots by a record that peers of a DHT have."""

from __future__ import annotations

import pytest

from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.fakes import FakeCache
from phase_boot.drill.sample_manifest import UNTRUSTED_KEY
from phase_boot.drill.sample_record import ANNOUNCER, record
from phase_boot.drill.scenarios import BOOTSTRAP, RECORD_PATH, dht
from phase_boot.machine.dht_peers import FILE, MAX_PEERS, usable_peers
from phase_boot.machine.graph import State
from phase_boot.trust.ipns_name import IpnsName
from policies.model import MAX_DHT_DELAY

PEER = BOOTSTRAP.partition("/p2p/")[2]


def test_a_record_of_the_dht_leads_to_the_mirror_and_the_process_ends_before_the_jump() -> None:
    scenario = dht()
    assert scenario.run() is State.TARGET
    assert scenario.dht.lookups == [(IpnsName(ANNOUNCER.keyid), (BOOTSTRAP,))]
    assert (scenario.dht.running, scenario.dht.stops) == (0, 1)
    (accepted,) = scenario.of("record.accepted")
    assert accepted["sequence"] == 7
    (found,) = scenario.of("candidate.found")
    assert found["finder"] == "wan"


def peer(host: str) -> str:
    return f"/ip4/{host}/tcp/4001/p2p/{PEER}"


def test_peers_that_answered_are_where_the_next_boot_begins_too() -> None:
    first = dht()
    first.cache = FakeCache()
    first.dht.addresses = [peer("9.9.9.9"), peer("127.0.0.1"), peer("10.0.0.1"), "no address"]
    assert first.run() is State.TARGET
    assert first.cache.state_files.files[FILE].decode() == peer("9.9.9.9")
    later = dht()
    later.cache = first.cache
    later.run()
    assert later.dht.lookups[0][1] == (BOOTSTRAP, peer("9.9.9.9"))


@pytest.mark.parametrize("kept", [b"", b"\xff" * 9000, b"/ip4/127.0.0.1/tcp/1\n/ip4", b"x" * 99])
def test_a_file_of_peers_that_is_damaged_counts_for_nothing(kept: bytes) -> None:
    scenario = dht()
    scenario.cache.state_files.files[FILE] = kept
    assert scenario.run() is State.TARGET
    assert scenario.dht.lookups[0][1] == (BOOTSTRAP,)


def test_kept_peers_alone_turn_no_dht_on() -> None:
    scenario = dht()
    scenario.cache.state_files.files[FILE] = peer("9.9.9.9").encode()
    scenario.platform.table["discovery"] |= {"bootstrap": []}
    scenario.run()
    assert scenario.dht.lookups == []


def test_more_peers_than_are_kept_are_left_out() -> None:
    assert len(usable_peers(peer(f"9.9.9.{n}") for n in range(99))) == MAX_PEERS


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


def test_a_policy_asks_the_dht_at_once_beside_the_servers() -> None:
    scenario = dht()
    scenario.fetcher.servers["http://router"] = FakeServer({RECORD_PATH: record()})
    rules = scenario.platform.table["discovery"]
    rules["routers"], rules["dht_delay_seconds"] = ["http://router"], 0
    assert scenario.run() is State.TARGET
    assert scenario.dht.lookups == [(IpnsName(ANNOUNCER.keyid), (BOOTSTRAP,))]


def test_the_longest_delay_of_a_policy_is_waited_for_beyond_the_window() -> None:
    scenario = dht()
    rules = scenario.platform.table["discovery"]
    rules["dht_delay_seconds"] = MAX_DHT_DELAY
    assert rules["window_seconds"] < MAX_DHT_DELAY
    assert scenario.run() is State.TARGET
    assert [event["finder"] for event in scenario.of("candidate.found")] == ["wan"]


def test_a_public_peer_is_asked_where_no_server_has_the_record() -> None:
    scenario = dht()
    rules = scenario.platform.table["discovery"]
    public = {"routers": ["http://router"], "gateways": [], "bootstrap": rules["bootstrap"]}
    scenario.platform.table["public"] = public
    rules["bootstrap"] = []
    scenario.fetcher.servers["http://router"] = FakeServer({})
    assert scenario.run() is State.TARGET
    assert scenario.dht.lookups == [(IpnsName(ANNOUNCER.keyid), (BOOTSTRAP,))]


def test_a_look_up_that_begins_late_is_waited_for_beyond_the_window() -> None:
    scenario = dht()
    window = scenario.platform.table["discovery"]["window_seconds"]
    scenario.dht.peers = [record()] * 3
    scenario.dht.seconds = 2 * window
    assert scenario.run() is State.TARGET
    assert [event["finder"] for event in scenario.of("candidate.found")] == ["wan"]
