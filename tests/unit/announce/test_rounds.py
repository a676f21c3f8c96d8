"""Records are put to servers and read back; what counts is what a server has afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phase_boot.announce.rounds import visit
from phase_boot.announce.servers import Kind, Limits, Server
from phase_boot.announce.sighting import Sighting, State
from phase_boot.announce.site_record import announce_site
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.ipns_record import IpnsRecord
from tests.support.announced_site import make_announced_site, terms
from tests.support.ipns_records import ANNOUNCING_KEY, NAME
from tests.support.record_servers import Handler, RecordServer, answer, hang, record_server

LIMITS = Limits(seconds=5, kubo_seconds=5, pause_seconds=0.01)


@pytest.fixture
def server() -> Iterator[RecordServer]:
    with record_server() as running:
        yield running


@pytest.fixture
def ours(tmp_path: Path) -> IpnsRecord:
    return announce_site(make_announced_site(tmp_path), ANNOUNCING_KEY, terms()).record


async def one(server: RecordServer, ours: IpnsRecord, kind: Kind, *, sends: bool) -> Sighting:
    (seen,) = await visit([Server(kind, server.url)], ours, LIMITS, sends=sends)
    return seen


@pytest.mark.parametrize("kind", [Kind.ROUTER, Kind.KUBO])
async def test_a_record_is_put_and_read_back(
    server: RecordServer, ours: IpnsRecord, kind: Kind
) -> None:
    seen = await one(server, ours, kind, sends=True)
    assert (seen.state, seen.record) == (State.OURS, ours)
    assert server.records == {str(NAME): ours.raw}
    assert [line.split()[0] for line in server.asked] == (
        ["PUT", "GET"] if kind is Kind.ROUTER else ["POST", "POST", "POST"]
    )


@pytest.mark.parametrize("kind", list(Kind))
async def test_looking_sends_nothing_and_finds_nothing(
    server: RecordServer, ours: IpnsRecord, kind: Kind
) -> None:
    seen = await one(server, ours, kind, sends=False)
    assert seen.state is State.ABSENT
    assert server.records == {}
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind.ROUTER, f"GET /routing/v1/ipns/{NAME}"),
        (Kind.MIRROR, f"GET /routing/v1/ipns/{NAME}"),
        (Kind.GATEWAY, f"GET /ipns/{NAME}?format=ipns-record"),
        (Kind.KUBO, f"POST /api/v0/routing/get?arg=%2Fipns%2F{NAME}"),
    ],
)
async def test_each_kind_of_server_is_asked_by_its_path(
    server: RecordServer, ours: IpnsRecord, kind: Kind, path: str
) -> None:
    server.records[str(NAME)] = ours.raw
    assert (await one(server, ours, kind, sends=False)).good
    assert server.asked == [path]


async def test_a_server_that_takes_a_moment_is_asked_again(
    server: RecordServer, ours: IpnsRecord
) -> None:
    asked = 0

    def late(handler: Handler) -> None:
        nonlocal asked
        asked += 1
        if asked < LIMITS.reads:
            handler.send(404, "text/plain", b"")
        else:
            handler.send(200, RECORD_TYPE, ours.raw)

    server.give = late
    assert (await one(server, ours, Kind.ROUTER, sends=True)).good
    assert asked == LIMITS.reads


async def test_a_server_that_refuses_the_put_but_has_the_record_is_good(
    server: RecordServer, ours: IpnsRecord
) -> None:
    server.put_status = 405
    server.records[str(NAME)] = ours.raw
    seen = await one(server, ours, Kind.ROUTER, sends=True)
    assert (seen.good, seen.answered) == (True, "it answered HTTP 405")


async def test_a_kubo_node_that_keeps_the_record_to_itself_is_reported(
    server: RecordServer, ours: IpnsRecord
) -> None:
    server.put_status = 500
    seen = await one(server, ours, Kind.KUBO, sends=True)
    assert (seen.state, seen.good, seen.record) == (State.HELD, False, ours)
    assert seen.answered == "it answered HTTP 500: failed to find any peer in table"


@pytest.mark.parametrize("peers", [None, []])
async def test_a_kubo_node_without_peers_is_reported(
    server: RecordServer, ours: IpnsRecord, peers: list[dict[str, str]] | None
) -> None:
    server.peers = peers
    seen = await one(server, ours, Kind.KUBO, sends=True)
    assert (seen.state, seen.reason, seen.record) == (State.HELD, "it has no peers", ours)


async def test_a_kubo_node_with_more_peers_than_are_read_has_some(
    server: RecordServer, ours: IpnsRecord
) -> None:
    server.peers = [{"Peer": "x" * 60}] * 2000
    assert (await one(server, ours, Kind.KUBO, sends=True)).good


async def test_the_reason_of_a_refusal_is_told(server: RecordServer, ours: IpnsRecord) -> None:
    server.give = answer("text/plain", b"too many \x1b[2Jrequests\nsecond line", 429)
    seen = await one(server, ours, Kind.ROUTER, sends=False)
    assert seen.state is State.UNREACHABLE
    assert seen.reason == "it answered HTTP 429: too many \\x1b[2Jrequests"


async def test_servers_are_visited_at_the_same_time_and_listed_in_order(
    server: RecordServer, ours: IpnsRecord
) -> None:
    with record_server() as silent:
        silent.give = hang
        servers = [Server(Kind.ROUTER, silent.url), Server(Kind.ROUTER, server.url)]
        limits = Limits(seconds=0.3, pause_seconds=0.01)
        seen = await visit(servers, ours, limits, sends=True)
    assert [each.place for each in seen] == [silent.url, server.url]
    assert [each.state for each in seen] == [State.UNREACHABLE, State.OURS]
