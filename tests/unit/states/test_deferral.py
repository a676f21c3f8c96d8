"""A source that fails in a way that may pass is asked again, and holds nobody up."""

from __future__ import annotations

import itertools

import pytest

from phase_boot.drill.fake_mirrors import Site, good_site
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.machine import deferral
from phase_boot.machine.deferral import MAX_DEFERRED, PATIENCE_SECONDS, Deferred
from phase_boot.machine.graph import State
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import Candidate

MANIFEST = "stable/amd64/manifest.json"


def ended(play: Scenario) -> float:
    """Return when the last event happened, in seconds."""
    return float(play.events[-1]["at"])


def busy(until: float, retry_after: float | None = None) -> Site:
    site = good_site()
    site.busy_until, site.retry_after = until, retry_after
    return site


def manifest_asks(site: Site) -> list[float]:
    return site.asked_at[: site.asked[MANIFEST]]


def test_one_503_on_the_manifest_costs_a_second() -> None:
    play = scene(mirror=busy(0.1))
    assert play.play() is State.TARGET
    assert ended(play) < 2
    assert play.operator.reports == []


def test_a_mirror_that_comes_up_five_seconds_late_is_booted_from() -> None:
    late = good_site()
    late.up_at = 5.0
    play = scene(mirror=late)
    assert play.play() is State.TARGET
    assert ended(play) < 12
    pauses = [b - a for a, b in itertools.pairwise(late.asked_at) if b < 5]
    assert pauses == sorted(pauses)


def test_a_source_that_is_busy_delays_no_other() -> None:
    play = scene(busy=busy(1e9), good=good_site())
    assert play.play() is State.TARGET
    assert ended(play) < 1
    assert play.of("manifest.verified")[0]["url"] == play.sites.manifest_url("good")


def test_a_source_of_a_later_origin_is_asked_while_one_on_the_lan_is_busy() -> None:
    play = scene(busy=busy(1e9), good=good_site())
    play.found = play.found[:1]
    play.platform.table["discovery"]["urls"] = [play.sites.manifest_url("good")]
    assert play.play() is State.TARGET
    assert ended(play) < 1


def test_a_source_that_asks_for_a_pause_gets_it() -> None:
    site = busy(1.0, retry_after=20)
    play = scene(mirror=site)
    assert play.play() is State.TARGET
    first, second = site.asked_at[:2]
    assert second - first >= 20


@pytest.mark.parametrize("asked", [100_000.0, 120.0])
def test_a_pause_beyond_the_patience_holds_no_boot(asked: float) -> None:
    site = busy(1e9, retry_after=asked)
    play = scene(mirror=site)
    assert play.play() is State.OFF
    assert ended(play) < 10
    assert len(site.asked_at) == 1
    assert "HTTP 503" in play.cause


def test_a_source_that_never_recovers_is_left_when_its_patience_ends() -> None:
    site = busy(1e9)
    play = scene(mirror=site)
    assert play.play() is State.OFF
    assert PATIENCE_SECONDS / 2 < ended(play) < PATIENCE_SECONDS + 10
    assert len(site.asked_at) < 10
    pauses = [b - a for a, b in itertools.pairwise(site.asked_at)]
    assert pauses == sorted(pauses)
    assert [event["code"] for event in play.of("candidate.refused")] == ["unreachable"]


def test_a_source_that_does_not_have_it_is_not_asked_again() -> None:
    empty = Site({})
    play = scene(mirror=empty)
    assert play.play() is State.OFF
    assert empty.asked[MANIFEST] == 1
    assert play.of("candidate.deferred") == []


def test_all_requests_to_a_source_that_hangs_share_one_patience() -> None:
    site = good_site()
    site.hangs = True
    play = scene(mirror=site)
    assert play.play() is State.OFF
    assert ended(play) < PATIENCE_SECONDS + 10


def test_sources_that_are_all_busy_take_turns() -> None:
    sites = {f"busy{n}": busy(20.0) for n in range(3)}
    play = scene(**sites)
    assert play.play() is State.TARGET
    assert ended(play) < 40
    assert all(len(site.asked_at) > 2 for site in sites.values())


def test_a_flood_of_busy_sources_ends_and_is_bounded() -> None:
    sites = {f"busy{n}": busy(1e9) for n in range(3 * MAX_DEFERRED)}
    play = scene(**sites, good=busy(3.0))
    play.platform.table["discovery"]["candidates"] = 1000
    play.found.insert(0, play.found.pop())
    assert play.play() is State.TARGET
    assert play.boot is not None
    assert len(play.boot.deferred) <= MAX_DEFERRED


def test_a_pause_that_a_source_asked_for_outlives_the_attempt() -> None:
    candidate = Candidate(url="http://m/m.json", origin="url")
    entry = Deferred.new(candidate, 100.0)
    asked = entry.after(FetchFailed("503", retryable=True, retry_after=120), now=100.0, chance=0.5)
    assert (asked.due, asked.patient) == (220.0, False)
    (later,) = deferral.for_next_attempt((asked,), 110.0)
    assert (later.due, later.failures) == (220.0, 1)
    (past,) = deferral.for_next_attempt((later,), 220.0)
    assert (past.due, past.since, past.failures) == (220.0, None, 1)


def test_a_source_that_failed_often_is_asked_once_in_a_later_attempt() -> None:
    candidate = Candidate(url="http://m/m.json", origin="url")
    entry = Deferred.new(candidate, 0.0)
    for _ in range(10):
        entry = entry.after(FetchFailed("refused", retryable=True), now=40.0, chance=0.0)
    (later,) = deferral.for_next_attempt((entry,), 100.0)
    begun = deferral.started((later,), candidate, 110.0)
    assert deferral.next_due((later,), frozenset()) is None
    assert not begun.after(FetchFailed("refused", retryable=True), now=111.0, chance=0.99).patient
