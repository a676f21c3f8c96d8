"""Retries of a document that one source has, and their end."""

from __future__ import annotations

import itertools

import pytest

from phase_boot.download.document_reader import DocumentReader
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer, good_server
from phase_boot.drill.virtual_time import VirtualClock
from phase_boot.journal.event import Event
from phase_boot.journal.network_events import CandidateDeferred
from phase_boot.machine.deferral import PATIENCE_SECONDS
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.trust.strict_json import MAX_BYTES
from policies.model import Reach

MANIFEST = "stable/amd64/manifest.json"
ATTEMPTS = 5


def read(server: FakeServer) -> tuple[bytes | str, list[Event]]:
    """Read a manifest; return it or the failure, and the events."""
    servers, events = FakeFetcher(mirror=server), list[Event]()

    async def once(url: str) -> bytes:
        return await servers.read(url, limit=MAX_BYTES, reach=Reach.INTERNET)

    async def reading() -> bytes | str:
        reader = DocumentReader(
            read=once, clock=VirtualClock(), attempts=ATTEMPTS, emit=events.append
        )
        try:
            return await reader.document(servers.manifest_url("mirror"))
        except FetchFailed as failure:
            return str(failure)

    return virtual_time.run(reading()), events


def busy(until: float, retry_after: float | None = None) -> FakeServer:
    server = good_server()
    server.busy_until, server.retry_after = until, retry_after
    return server


def test_the_pause_that_a_source_asks_for_is_kept() -> None:
    server = busy(30.0, retry_after=20)
    answer, events = read(server)
    assert answer == server.files[MANIFEST]
    assert all(later - one >= 20 for one, later in itertools.pairwise(server.request_times))
    assert [type(event) for event in events] == [CandidateDeferred] * 2


def test_a_source_that_starts_late_is_retried() -> None:
    server = good_server()
    server.up_at = 2.0
    assert read(server)[0] == server.files[MANIFEST]


def test_a_busy_source_gets_as_many_requests_as_the_policy_allows() -> None:
    server = busy(1e9)
    answer, events = read(server)
    assert len(server.request_times) == ATTEMPTS
    assert len(events) == ATTEMPTS - 1
    assert "HTTP 503 (asked 5 times); try again later" in str(answer)


@pytest.mark.parametrize("asked", [100_000.0, 120.0])
def test_a_pause_beyond_the_time_limit_fails_at_once_with_a_way_out(asked: float) -> None:
    server = busy(1e9, retry_after=asked)
    answer, events = read(server)
    assert len(server.request_times) == 1
    assert events == []
    assert f"asks to be left alone for {min(asked, 300):.0f} seconds; try again then" in str(answer)


def test_a_missing_document_is_not_requested_again() -> None:
    server = FakeServer({})
    answer, events = read(server)
    assert "404" in str(answer)
    assert server.requests[MANIFEST] == 1
    assert events == []


def test_a_source_that_hangs_is_given_up_at_the_time_limit() -> None:
    server = good_server()
    server.hangs = True
    answer, events = read(server)
    assert f"more than {PATIENCE_SECONDS:g} seconds" in str(answer)
    assert len(server.request_times) == len(events) + 1 < ATTEMPTS
