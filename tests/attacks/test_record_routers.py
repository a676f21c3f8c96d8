"""Routers that lie, break off or never end: bounded, named, and never reported as good."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from phase_boot.announce.kubo_rpc import MAX_EVENTS
from phase_boot.announce.rounds import visit
from phase_boot.announce.servers import Kind, Limits, Server
from phase_boot.announce.sighting import Sighting, State
from phase_boot.announce.site_record import announce_site
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.ipns_record import MAX_RECORD, IpnsRecord
from tests.support.announced_site import make_announced_site, terms
from tests.support.ipns_records import ANNOUNCING_KEY, NAME, OTHER_KEY, record
from tests.support.record_servers import (
    Handler,
    RecordServer,
    answer,
    drip,
    endless,
    hang,
    record_server,
    redirect,
)

LIMITS = Limits(seconds=0.5, kubo_seconds=0.5, pause_seconds=0.01)


@pytest.fixture
def server() -> Iterator[RecordServer]:
    with record_server() as running:
        yield running


@pytest.fixture
def ours(tmp_path: Path) -> IpnsRecord:
    return announce_site(make_announced_site(tmp_path), ANNOUNCING_KEY, terms()).record


async def announced(server: RecordServer, ours: IpnsRecord, kind: Kind = Kind.ROUTER) -> Sighting:
    (seen,) = await visit([Server(kind, server.url)], ours, LIMITS, sends=True)
    return seen


@pytest.mark.parametrize("kind", [Kind.ROUTER, Kind.KUBO])
async def test_a_router_that_says_200_and_keeps_the_older_record_is_reported(
    server: RecordServer, ours: IpnsRecord, kind: Kind
) -> None:
    older = record(sequence=7, validity=ours.validity)
    server.records[str(NAME)] = older
    server.keeps = False
    seen = await announced(server, ours, kind)
    assert (seen.state, seen.answered) == (State.OLDER, "it answered HTTP 200")
    assert seen.record is not None
    assert seen.record.sequence == 7
    assert server.records[str(NAME)] == older


async def test_a_router_that_says_200_and_keeps_nothing_is_reported(
    server: RecordServer, ours: IpnsRecord
) -> None:
    server.keeps = False
    assert (await announced(server, ours)).state is State.ABSENT


async def test_a_record_with_the_highest_sequence_by_a_stolen_key_is_reported(
    server: RecordServer, ours: IpnsRecord
) -> None:
    server.records[str(NAME)] = record(sequence=2**63 - 1, validity=ours.validity)
    server.keeps = False
    seen = await announced(server, ours)
    assert (seen.state, seen.good) == (State.NEWER, False)


@pytest.mark.parametrize(
    ("give", "state"),
    [
        (answer("text/html", b"<html>sign in</html>"), State.INVALID),
        (answer("text/plain", b"delegate error"), State.ABSENT),
        (answer(RECORD_TYPE, b"x" * MAX_RECORD), State.INVALID),
        (answer(RECORD_TYPE, b"x" * (MAX_RECORD + 1)), State.UNREACHABLE),
        (answer("text/html", b"<html>" * 4096, 504), State.UNREACHABLE),
        (answer(RECORD_TYPE, record(OTHER_KEY)), State.INVALID),
        (endless, State.UNREACHABLE),
        (drip, State.UNREACHABLE),
        (hang, State.UNREACHABLE),
        (redirect, State.UNREACHABLE),
    ],
    ids=[
        "a web page",
        "a sentence",
        "no record",
        "too large",
        "an error page",
        "another key",
        "endless",
        "a drip",
        "silence",
        "a redirect",
    ],
)
async def test_a_bad_answer_is_bounded_and_named(
    server: RecordServer, ours: IpnsRecord, give: Callable[[Handler], None], state: State
) -> None:
    server.give = give
    began = time.monotonic()
    seen = await announced(server, ours)
    assert (seen.state, seen.good) == (state, False)
    assert time.monotonic() - began < 4 * LIMITS.seconds
    assert not any("elsewhere" in line for line in server.asked)


async def test_a_record_that_a_router_signed_anew_for_a_longer_time_is_not_ours(
    server: RecordServer, ours: IpnsRecord
) -> None:
    replayed = record(sequence=ours.sequence, validity=ours.validity + timedelta(hours=1))
    server.give = answer(RECORD_TYPE, replayed)
    assert (await announced(server, ours)).state is State.NEWER


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ((200, b""), State.ABSENT),
        ((200, b"[" * 30_000), State.ABSENT),
        ((200, b'{"Extra": 7}\n"text"\n{"Extra": ""}'), State.ABSENT),
        ((200, b'{"Extra": "not base64!"}'), State.UNREACHABLE),
        ((200, json.dumps({"Extra": base64.b64encode(b"x").decode()}).encode()), State.INVALID),
        ((200, b" " * (MAX_EVENTS + 1)), State.UNREACHABLE),
        ((500, b'{"Message": "routing: not found"}'), State.ABSENT),
        ((500, b'{"Message": "context deadline exceeded"}'), State.UNREACHABLE),
        ((403, b"403 - Forbidden"), State.UNREACHABLE),
    ],
)
async def test_a_bad_answer_of_kubo_is_bounded_and_named(
    server: RecordServer, ours: IpnsRecord, given: tuple[int, bytes], state: State
) -> None:
    status, body = given
    server.give = answer("application/json", body, status)
    seen = await announced(server, ours, Kind.KUBO)
    assert (seen.state, seen.good) == (state, False)
