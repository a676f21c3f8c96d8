"""Boots that find their version by the publisher's IPNS record."""

from __future__ import annotations

import json
from ipaddress import IPv6Address

import pytest

from phase_boot.content.cid import Cid, Codec
from phase_boot.download.block_client import block_path
from phase_boot.drill.fake_network import ETH0
from phase_boot.drill.fake_servers import (
    FakeServer,
    dags_of_all,
    gateway_with_chunks,
    good_server,
    server_with_chunks,
)
from phase_boot.drill.fakes import FakeCache
from phase_boot.drill.sample_manifest import UNTRUSTED_KEY
from phase_boot.drill.sample_record import ANNOUNCER, announcement, record
from phase_boot.drill.sample_root import root_document, signed_root
from phase_boot.drill.scenario import Scenario
from phase_boot.drill.scenarios import RECORD_PATH, wan
from phase_boot.machine.graph import State
from phase_boot.ports.network import Link
from phase_boot.trust.ipns_name import IpnsName

STORED = f"{IpnsName(ANNOUNCER.keyid)}.ipns-record"
ROUTER = "http://router"
MANIFEST = "stable/amd64/manifest.json"
PEER = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"


def with_record(raw: bytes, cache: FakeCache | None = None) -> Scenario:
    scenario = wan()
    scenario.fetcher.servers[ROUTER] = FakeServer({RECORD_PATH: raw})
    scenario.cache = cache or FakeCache()
    return scenario


def finders(scenario: Scenario) -> list[str]:
    return [event["finder"] for event in scenario.of("candidate.found")]


def test_a_record_of_a_router_leads_to_the_mirror_and_is_kept() -> None:
    scenario = with_record(record(sequence=7))
    assert scenario.run() is State.TARGET
    assert finders(scenario) == ["wan"]
    (accepted,) = scenario.of("record.accepted")
    assert accepted["sequence"] == 7
    assert scenario.cache.state_files.files[STORED] == record(sequence=7)


def test_an_older_record_is_not_accepted_by_a_later_boot() -> None:
    first = with_record(record(sequence=9))
    assert first.run() is State.TARGET
    later = with_record(record(sequence=8), first.cache)
    assert later.run() is State.OFF
    assert finders(later) == []
    assert later.cache.state_files.files[STORED] == record(sequence=9)


def test_the_largest_sequence_of_a_stolen_key_ends_with_the_next_root() -> None:
    stolen = with_record(record(sequence=2**63 - 1))
    assert stolen.run() is State.TARGET
    successor = root_document(announcers=[UNTRUSTED_KEY.keyid])
    scenario = with_record(record(), stolen.cache)
    scenario.platform.trusting(signed_root(successor))
    path = f"routing/v1/ipns/{IpnsName(UNTRUSTED_KEY.keyid)}"
    fresh = record(key=UNTRUSTED_KEY, sequence=1)
    scenario.fetcher.servers[ROUTER] = FakeServer({path: fresh})
    assert scenario.run() is State.TARGET
    assert finders(scenario) == ["wan"]


def test_a_kept_record_that_the_announcing_key_did_not_sign_counts_for_nothing() -> None:
    cache = FakeCache()
    cache.state_files.files[STORED] = record(key=UNTRUSTED_KEY, sequence=100)
    scenario = with_record(record(sequence=7), cache)
    assert scenario.run() is State.TARGET
    assert cache.state_files.files[STORED] == record(sequence=7)


def test_a_record_is_not_kept_on_cache_in_private() -> None:
    scenario = with_record(record())
    scenario.platform.table |= {"mode": "private", "cache_enabled": False}
    assert scenario.run() is State.TARGET
    assert finders(scenario) == ["wan"]
    assert STORED not in scenario.cache.state_files.files


def test_a_provider_of_this_network_is_preferred_to_a_record() -> None:
    scenario = with_record(record())
    scenario.lan_urls = [scenario.fetcher.manifest_url("mirror")]
    assert scenario.run() is State.TARGET
    assert finders(scenario) == ["lan"]
    assert scenario.of("record.accepted") == []


def test_without_an_announcing_key_no_router_is_asked() -> None:
    scenario = with_record(record())
    scenario.platform.trusting(signed_root(root_document()))
    assert scenario.run() is State.OFF
    assert not scenario.fetcher.servers[ROUTER].requests


def test_a_record_whose_mirror_is_gone_leads_to_the_manifest_by_its_cid() -> None:
    mirror, gateway = server_with_chunks(), gateway_with_chunks()
    manifest = mirror.files["stable/amd64/manifest.json"]
    cid = Cid.of(Codec.RAW, manifest)
    scenario = with_record(record(announcement=announcement(mirrors=(), cid=cid)))
    scenario.fetcher.servers["http://gate"] = gateway
    scenario.platform.table["discovery"]["gateways"] = ["http://gate"]
    gateway.files[block_path(cid)] = manifest
    del scenario.fetcher.servers["http://mirror"]
    assert scenario.run() is State.TARGET
    assert {event["source"] for event in scenario.of("fetch.done")} == {"http://gate"}


def sources_of(scenario: Scenario) -> set[str]:
    return {event["source"] for event in scenario.of("fetch.done")}


def test_a_provider_in_a_record_is_used_as_a_gateway() -> None:
    mirror = server_with_chunks()
    manifest = FakeServer({MANIFEST: mirror.files[MANIFEST]})
    named = announcement(providers=(f"/dns4/gate/tcp/80/http/p2p/{PEER}", "/ip4/127.0.0.1/tcp/1"))
    scenario = with_record(record(announcement=named))
    scenario.fetcher.servers |= {"http://mirror": manifest, "http://gate": gateway_with_chunks()}
    assert scenario.run() is State.TARGET
    assert sources_of(scenario) == {"http://gate"}


@pytest.mark.parametrize("mapped", [False, True], ids=["IPv4", "IPv4-mapped"])
@pytest.mark.parametrize("own", ["10.0.0.2", "93.184.216.34"], ids=["first link", "second link"])
def test_a_record_that_names_this_machine_causes_no_request_to_it(
    own: str, *, mapped: bool
) -> None:
    scenario = with_record(b"")
    scenario.network.links = (ETH0, Link("eth1", ("93.184.216.34/24",)))
    six = IPv6Address(f"::ffff:{own}")
    host, address = (f"[{six}]", f"/ip6/{six}") if mapped else (own, f"/ip4/{own}")
    places = announcement(
        mirrors=(f"http://{host}/{MANIFEST}", f"http://mirror/{MANIFEST}"),
        providers=(f"{address}/tcp/80/http",),
    )
    scenario.fetcher.servers[ROUTER] = FakeServer({RECORD_PATH: record(announcement=places)})
    scenario.fetcher.servers[f"http://{host}"] = this_machine = good_server()
    assert scenario.run() is State.TARGET
    assert this_machine.requests.total() == 0


def test_further_mirrors_in_a_record_are_used_for_artifacts() -> None:
    second = server_with_chunks()
    urls = tuple(f"http://{name}/{MANIFEST}" for name in ("mirror", "second"))
    scenario = with_record(record(announcement=announcement(mirrors=urls)))
    scenario.fetcher.servers |= {
        "http://mirror": FakeServer({MANIFEST: second.files[MANIFEST]}),
        "http://second": second,
    }
    assert scenario.run() is State.TARGET
    assert sources_of(scenario) == {"http://second"}


def test_a_provider_that_the_router_names_delivers_where_the_mirror_has_only_the_manifest() -> None:
    whole, gate = server_with_chunks(), gateway_with_chunks()
    scenario = with_record(record())
    scenario.fetcher.servers |= {
        "http://mirror": FakeServer({MANIFEST: whole.files[MANIFEST]}),
        "http://gate": gate,
    }
    named = {"Schema": "peer", "ID": PEER, "Addrs": ["/dns4/gate/tcp/80/http"]}
    reply = json.dumps({"Providers": [named]}).encode()
    router = scenario.fetcher.servers[ROUTER]
    router.files |= {f"routing/v1/providers/{root}": reply for root in dags_of_all()}
    assert scenario.run() is State.TARGET
    assert sources_of(scenario) == {"http://gate"}


@pytest.mark.parametrize("raw", [b"", b"delegate error", bytes(20_000)], ids=["", "text", "large"])
def test_a_router_without_a_record_ends_in_the_shell_and_is_named(raw: bytes) -> None:
    scenario = with_record(raw)
    assert scenario.run() is State.OFF
    assert finders(scenario) == []
    ignored = " ".join(event["reason"] for event in scenario.of("reply.ignored"))
    assert ROUTER in ignored


def test_a_record_never_makes_a_manifest_good() -> None:
    scenario = with_record(record())
    mirror = good_server()
    forged = mirror.files["stable/amd64/manifest.json"].replace(b"quiet", b"evil ")
    mirror.files["stable/amd64/manifest.json"] = forged
    scenario.fetcher.servers["http://mirror"] = mirror
    assert scenario.run() is State.OFF
    assert scenario.kexec.kernel is None
    assert {event["code"] for event in scenario.of("candidate.refused")} == {"signature.bad"}


@pytest.mark.parametrize(("mode", "asked"), [("internet", 1), ("private", 0)])
def test_a_provider_of_this_network_is_asked_for_the_record_in_internet_mode_alone(
    mode: str, asked: int
) -> None:
    scenario = with_record(record())
    if mode == "private":
        scenario.platform.table |= {"mode": mode, "cache_enabled": False}
    # Its manifest is gone, so that the machine has to look further.
    near = scenario.fetcher.servers["http://near"] = FakeServer({RECORD_PATH: record()})
    scenario.lan_urls = [scenario.fetcher.manifest_url("near")]
    assert scenario.run() is State.TARGET
    assert min(near.requests[RECORD_PATH], 1) == asked


def test_a_machine_that_boots_from_this_network_asks_no_server_beyond_it() -> None:
    scenario = with_record(record())
    scenario.lan_urls = [scenario.fetcher.manifest_url("mirror")]
    assert scenario.run() is State.TARGET
    assert not scenario.fetcher.servers[ROUTER].requests


def with_public(scenario: Scenario) -> FakeServer:
    """Move the router of a scenario to its public servers, and return it."""
    scenario.platform.table["discovery"]["routers"] = []
    scenario.platform.table["public"] = {
        "routers": [ROUTER],
        "gateways": ["http://gate"],
        "bootstrap": [],
    }
    scenario.fetcher.servers["http://gate"] = FakeServer({})
    return scenario.fetcher.servers[ROUTER]


def test_a_public_router_leads_to_the_mirror_where_the_root_names_an_announcing_key() -> None:
    scenario = with_record(record())
    router = with_public(scenario)
    assert scenario.run() is State.TARGET
    assert finders(scenario) == ["wan"]
    assert router.requests


def test_without_an_announcing_key_no_public_server_is_asked_for_anything() -> None:
    scenario = with_record(record())
    router = with_public(scenario)
    scenario.platform.trusting(signed_root(root_document()))
    scenario.fetcher.servers["http://mirror"] = server_with_chunks()
    scenario.lan_urls = [scenario.fetcher.manifest_url("mirror")]
    assert scenario.run() is State.TARGET
    assert not router.requests
    assert not scenario.fetcher.servers["http://gate"].requests
