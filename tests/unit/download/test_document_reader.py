"""Retries of a document that one source has, and their end."""

from __future__ import annotations

import itertools

import pytest

from phase_boot.download.document_reader import DocumentReader
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_mirrors import Site, Sites, good_site
from phase_boot.drill.virtual_time import VirtualClock
from phase_boot.journal.event import Event
from phase_boot.journal.network_events import CandidateDeferred
from phase_boot.machine.deferral import PATIENCE_SECONDS
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.trust.strict_json import MAX_BYTES
from policies.model import Reach

MANIFEST = "stable/amd64/manifest.json"
ATTEMPTS = 5


def read(site: Site) -> tuple[bytes | str, list[Event]]:
    """Read a manifest; return it or the failure, and the events."""
    sites, events = Sites(mirror=site), list[Event]()

    async def once(url: str) -> bytes:
        return await sites.read(url, limit=MAX_BYTES, reach=Reach.INTERNET)

    async def reading() -> bytes | str:
        reader = DocumentReader(
            read=once, clock=VirtualClock(), attempts=ATTEMPTS, emit=events.append
        )
        try:
            return await reader.document(sites.manifest_url("mirror"))
        except FetchFailed as failure:
            return str(failure)

    return virtual_time.run(reading()), events


def busy(until: float, retry_after: float | None = None) -> Site:
    site = good_site()
    site.busy_until, site.retry_after = until, retry_after
    return site


def test_the_pause_that_a_source_asks_for_is_kept() -> None:
    site = busy(30.0, retry_after=20)
    answer, events = read(site)
    assert answer == site.files[MANIFEST]
    assert all(later - one >= 20 for one, later in itertools.pairwise(site.asked_at))
    assert [type(event) for event in events] == [CandidateDeferred] * 2


def test_a_source_that_starts_late_is_retried() -> None:
    site = good_site()
    site.up_at = 2.0
    assert read(site)[0] == site.files[MANIFEST]


def test_a_busy_source_gets_as_many_requests_as_the_policy_allows() -> None:
    site = busy(1e9)
    answer, events = read(site)
    assert len(site.asked_at) == ATTEMPTS
    assert len(events) == ATTEMPTS - 1
    assert "HTTP 503 (asked 5 times); try again later" in str(answer)


@pytest.mark.parametrize("asked", [100_000.0, 120.0])
def test_a_pause_beyond_the_time_limit_fails_at_once_and_says_what_to_do(asked: float) -> None:
    site = busy(1e9, retry_after=asked)
    answer, events = read(site)
    assert len(site.asked_at) == 1
    assert events == []
    assert f"asks to be left alone for {min(asked, 300):.0f} seconds; try again then" in str(answer)


def test_a_missing_document_is_not_requested_again() -> None:
    site = Site({})
    answer, events = read(site)
    assert "404" in str(answer)
    assert site.asked[MANIFEST] == 1
    assert events == []


def test_a_source_that_hangs_is_given_up_at_the_time_limit() -> None:
    site = good_site()
    site.hangs = True
    answer, events = read(site)
    assert f"more than {PATIENCE_SECONDS:g} seconds" in str(answer)
    assert len(site.asked_at) == len(events) + 1 < ATTEMPTS
