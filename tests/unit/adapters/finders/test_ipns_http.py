"""What delegated routers and gateways answer, and which records become candidates."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from phase_boot.adapters.finders.ipns_http import RECORD_SECONDS, RecordFinder
from phase_boot.content.arch import Arch
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.drill.sample_manifest import NOW, UNTRUSTED_KEY
from phase_boot.drill.sample_record import ANNOUNCER, MANIFEST_CID, announcement, record
from phase_boot.ports.finder import Candidate, DiscoveryQuery, Ignored, RecordQuery
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import MAX_RECORD, read_record
from policies.model import Reach

NAME = IpnsName(ANNOUNCER.keyid)
MIRROR = "http://mirror/stable/amd64/manifest.json"
ROUTED = f"routing/v1/ipns/{NAME}"
AT_GATEWAY = f"ipns/{NAME}?format=ipns-record"
BY_CID = f"http://gate/ipfs/{MANIFEST_CID}?format=raw"
ASKED = RecordQuery(
    names=(NAME,),
    routers=("http://router", "http://other"),
    gateways=("http://gate",),
    now=NOW,
    reach=Reach.INTERNET,
    redirects=5,
)
QUERY = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=15, urls=(), records=ASKED)


def routers(**files: bytes | None) -> FakeFetcher:
    """Return servers that hold the given records; None is a server without one."""
    path = {"gate": AT_GATEWAY}
    servers = {
        name: FakeServer({} if raw is None else {path.get(name, ROUTED): raw})
        for name, raw in ({"router": None, "other": None, "gate": None} | files).items()
    }
    return FakeFetcher(**servers)


def found(fetcher: FakeFetcher, query: DiscoveryQuery = QUERY) -> list[Candidate | Ignored]:
    async def search() -> list[Candidate | Ignored]:
        return [each async for each in RecordFinder(fetcher).find(query)]

    return virtual_time.run(search())


def urls(answers: list[Candidate | Ignored]) -> list[str]:
    return [each.url for each in answers if isinstance(each, Candidate)]


def reasons(answers: list[Candidate | Ignored]) -> dict[str, str]:
    """Return why servers were ignored, by their URLs."""
    ignored = (each.reason.partition(": ") for each in answers if isinstance(each, Ignored))
    return {url: reason for url, _, reason in ignored}


@pytest.mark.parametrize("server", ["router", "other", "gate"])
def test_a_record_at_any_server_names_its_mirrors_and_the_manifest_by_cid(server: str) -> None:
    answers = found(routers(**{server: record()}))
    assert urls(answers) == [MIRROR, BY_CID]
    assert {each.finder for each in answers if isinstance(each, Candidate)} == {"wan"}
    assert len(reasons(answers)) == 2


def test_nothing_is_asked_without_an_announcing_key() -> None:
    fetcher = routers(router=record())
    assert found(fetcher, replace(QUERY, records=None)) == []
    assert all(not server.requests for server in fetcher.servers.values())


def test_another_channel_or_architecture_makes_no_candidate() -> None:
    fetcher = routers(router=record())
    assert urls(found(fetcher, replace(QUERY, channel="testing"))) == []
    assert urls(found(fetcher, replace(QUERY, arch=Arch.ARM64))) == []


@pytest.mark.parametrize(
    "raw",
    [
        record(key=UNTRUSTED_KEY),
        record(validity=NOW - timedelta(seconds=1)),
        record()[:-1],
        b"delegate error: routing: not found\n",
        b"<!DOCTYPE html><html></html>",
        b"",
        bytes(MAX_RECORD + 1),
    ],
    ids=["another key", "expired", "cut", "text", "page", "empty", "too large"],
)
def test_what_is_no_record_of_the_announcing_key_is_ignored_and_the_server_named(
    raw: bytes,
) -> None:
    answers = found(routers(router=raw, other=record()))
    assert urls(answers) == [MIRROR, BY_CID]
    assert f"http://router/{ROUTED}" in reasons(answers)


def test_an_older_record_after_a_newer_one_is_ignored() -> None:
    moved = announcement(mirrors=("http://new/stable/amd64/manifest.json",))
    fetcher = routers(router=record(sequence=8, announcement=moved), other=record(sequence=7))
    fetcher.servers["http://other"].piece_seconds = 1.0
    assert urls(found(fetcher)) == ["http://new/stable/amd64/manifest.json", BY_CID]


def test_a_newer_record_after_an_older_one_adds_its_places() -> None:
    moved = announcement(mirrors=("http://new/stable/amd64/manifest.json",))
    fetcher = routers(router=record(sequence=8, announcement=moved), other=record(sequence=7))
    fetcher.servers["http://router"].piece_seconds = 1.0
    assert urls(found(fetcher))[0] == MIRROR
    assert "http://new/stable/amd64/manifest.json" in urls(found(fetcher))


def test_a_record_below_the_newest_accepted_one_is_a_replay() -> None:
    newest = read_record(record(sequence=9), NAME)
    query = replace(QUERY, records=replace(ASKED, newest=(newest,)))
    answers = found(routers(router=record(sequence=8), other=record(sequence=9)), query)
    assert urls(answers) == [MIRROR, BY_CID]
    assert f"http://router/{ROUTED}" in reasons(answers)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "169.254.169.254", "[::1]", "[fe80::1]", "[::ffff:127.0.0.1]"],
)
def test_a_mirror_at_this_machine_or_on_one_link_is_ignored(host: str) -> None:
    places = announcement(mirrors=(f"http://{host}/stable/amd64/manifest.json", MIRROR))
    answers = found(routers(router=record(announcement=places)))
    assert urls(answers) == [MIRROR, BY_CID]
    assert len(reasons(answers)) == 3


@pytest.mark.parametrize("mapped", [False, True], ids=["IPv4", "IPv4-mapped"])
def test_no_place_at_this_machines_own_address_is_a_candidate(*, mapped: bool) -> None:
    own = "93.184.216.34"
    host, address = (f"[::ffff:{own}]", f"/ip6/::ffff:{own}") if mapped else (own, f"/ip4/{own}")
    places = announcement(
        mirrors=(f"http://{host}:8080/stable/amd64/manifest.json", MIRROR),
        providers=(f"{address}/tcp/80/http",),
    )
    asked = replace(ASKED, own=frozenset({own}))
    answers = found(routers(router=record(announcement=places)), replace(QUERY, records=asked))
    assert urls(answers) == [MIRROR, BY_CID]
    assert any(f"{own} is this machine" in reason for reason in reasons(answers).values())


def test_the_manifest_is_also_at_each_http_server_among_the_providers_by_its_cid() -> None:
    providers = (
        "/dns4/holder/tcp/443/tls/http",
        "/dns4/gate/tcp/80/http",
        "/ip4/192.0.2.7/tcp/4001",
        "/ip4/127.0.0.1/tcp/80/http",
        "/ip4/169.254.169.254/tcp/80/http",
        "/ip4/10.0.0.1/tcp/80/http",
    )
    answers = found(routers(router=record(announcement=announcement(providers=providers))))
    by_cid = f"https://holder/ipfs/{MANIFEST_CID}?format=raw"
    assert urls(answers) == [MIRROR, BY_CID, by_cid]


def test_a_silent_server_delays_no_other_and_is_named() -> None:
    fetcher = routers(router=record(), other=record())
    fetcher.servers["http://other"].hangs = True
    answers = found(fetcher)
    assert urls(answers)[0] == MIRROR
    assert f"{RECORD_SECONDS:g} seconds" in reasons(answers)[f"http://other/{ROUTED}"]


def test_an_endless_answer_is_cut_at_the_bound() -> None:
    fetcher = routers(router=record(), other=record())
    fetcher.servers["http://router"].endless = ROUTED
    answers = found(fetcher)
    assert urls(answers) == [MIRROR, BY_CID]
    assert f"http://router/{ROUTED}" in reasons(answers)
