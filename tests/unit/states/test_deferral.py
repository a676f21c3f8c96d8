"""A source that fails temporarily is asked again and delays no other."""

from __future__ import annotations

import itertools

import pytest

from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine import deferral
from phase_boot.machine.deferral import MAX_DEFERRED, PATIENCE_SECONDS, Deferred
from phase_boot.machine.graph import State
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import Candidate

MANIFEST = "stable/amd64/manifest.json"


def ended(scenario: Scenario) -> float:
    """Return when the last event happened, in seconds."""
    return float(scenario.events[-1]["at"])


def busy(until: float, retry_after: float | None = None) -> FakeServer:
    server = good_server()
    server.busy_until, server.retry_after = until, retry_after
    return server


def manifest_asks(server: FakeServer) -> list[float]:
    return server.request_times[: server.requests[MANIFEST]]


def test_one_503_on_the_manifest_costs_a_second() -> None:
    scenario = lan_scenario(mirror=busy(0.1))
    assert scenario.run() is State.TARGET
    assert ended(scenario) < 2
    assert scenario.operator.reports == []


def test_a_mirror_that_starts_five_seconds_late_serves_the_boot() -> None:
    late = good_server()
    late.up_at = 5.0
    scenario = lan_scenario(mirror=late)
    assert scenario.run() is State.TARGET
    assert ended(scenario) < 12
    pauses = [b - a for a, b in itertools.pairwise(late.request_times) if b < 5]
    assert pauses == sorted(pauses)


def test_a_source_that_is_busy_delays_no_other() -> None:
    scenario = lan_scenario(busy=busy(1e9), good=good_server())
    assert scenario.run() is State.TARGET
    assert ended(scenario) < 1
    assert scenario.of("manifest.verified")[0]["url"] == scenario.fetcher.manifest_url("good")


def test_a_source_of_a_later_finder_is_used_while_one_on_the_lan_is_busy() -> None:
    scenario = lan_scenario(busy=busy(1e9), good=good_server())
    scenario.lan_urls = scenario.lan_urls[:1]
    scenario.platform.table["discovery"]["urls"] = [scenario.fetcher.manifest_url("good")]
    assert scenario.run() is State.TARGET
    assert ended(scenario) < 1


def test_a_source_that_asks_for_a_pause_gets_it() -> None:
    server = busy(1.0, retry_after=20)
    scenario = lan_scenario(mirror=server)
    assert scenario.run() is State.TARGET
    first, second = server.request_times[:2]
    assert second - first >= 20


@pytest.mark.parametrize("asked", [100_000.0, 120.0])
def test_a_pause_beyond_the_time_limit_does_not_hold_the_boot(asked: float) -> None:
    server = busy(1e9, retry_after=asked)
    scenario = lan_scenario(mirror=server)
    assert scenario.run() is State.OFF
    assert ended(scenario) < 10
    assert len(server.request_times) == 1
    assert "HTTP 503" in scenario.cause


def test_a_source_that_never_recovers_is_given_up_at_the_time_limit() -> None:
    server = busy(1e9)
    scenario = lan_scenario(mirror=server)
    assert scenario.run() is State.OFF
    assert PATIENCE_SECONDS / 2 < ended(scenario) < PATIENCE_SECONDS + 10
    assert len(server.request_times) < 10
    pauses = [b - a for a, b in itertools.pairwise(server.request_times)]
    assert pauses == sorted(pauses)
    assert [event["code"] for event in scenario.of("candidate.refused")] == ["unreachable"]


def test_a_source_that_does_not_have_it_is_not_asked_again() -> None:
    empty = FakeServer({})
    scenario = lan_scenario(mirror=empty)
    assert scenario.run() is State.OFF
    assert empty.requests[MANIFEST] == 1
    assert scenario.of("candidate.deferred") == []


def test_all_requests_to_a_hanging_source_share_one_time_limit() -> None:
    server = good_server()
    server.hangs = True
    scenario = lan_scenario(mirror=server)
    assert scenario.run() is State.OFF
    assert ended(scenario) < PATIENCE_SECONDS + 10


def test_sources_that_are_all_busy_take_turns() -> None:
    servers = {f"busy{n}": busy(20.0) for n in range(3)}
    scenario = lan_scenario(**servers)
    assert scenario.run() is State.TARGET
    assert ended(scenario) < 40
    assert all(len(server.request_times) > 2 for server in servers.values())


def test_a_flood_of_busy_sources_ends_and_is_bounded() -> None:
    servers = {f"busy{n}": busy(1e9) for n in range(3 * MAX_DEFERRED)}
    scenario = lan_scenario(**servers, good=busy(3.0))
    scenario.platform.table["discovery"]["candidates"] = 1000
    scenario.lan_urls.insert(0, scenario.lan_urls.pop())
    assert scenario.run() is State.TARGET
    assert scenario.boot is not None
    assert len(scenario.boot.deferred) <= MAX_DEFERRED


def test_a_pause_that_a_source_asked_for_outlives_the_attempt() -> None:
    candidate = Candidate(url="http://m/m.json", finder="url")
    entry = Deferred.new(candidate, 100.0)
    asked = entry.after(FetchFailed("503", retryable=True, retry_after=120), now=100.0, chance=0.5)
    assert (asked.due, asked.patient) == (220.0, False)
    (later,) = deferral.for_next_attempt((asked,), 110.0)
    assert (later.due, later.failures) == (220.0, 1)
    (past,) = deferral.for_next_attempt((later,), 220.0)
    assert (past.due, past.since, past.failures) == (220.0, None, 1)


def test_a_source_that_failed_often_is_asked_once_in_a_later_attempt() -> None:
    candidate = Candidate(url="http://m/m.json", finder="url")
    entry = Deferred.new(candidate, 0.0)
    for _ in range(10):
        entry = entry.after(FetchFailed("refused", retryable=True), now=40.0, chance=0.0)
    (later,) = deferral.for_next_attempt((entry,), 100.0)
    begun = deferral.started((later,), candidate, 110.0)
    assert deferral.next_due((later,), frozenset()) is None
    assert not begun.after(FetchFailed("refused", retryable=True), now=111.0, chance=0.99).patient
