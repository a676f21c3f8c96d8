"""All finders search at once; the order of the policy decides between what they find."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest

from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.fakes import policy_table
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.machine.graph import State
from phase_boot.ports.finder import Candidate, DiscoveryQuery
from states.discover import HEAD_START_SECONDS

WINDOW = 5
NEAR = "http://near/stable/amd64/manifest.json"


@dataclass
class LateFinder:
    """Finds a provider of this network after some seconds."""

    seconds: float
    kind: str = "lan"

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        await asyncio.sleep(min(self.seconds, query.seconds))
        if self.seconds <= query.seconds:
            yield Candidate(url=NEAR, finder=self.kind)


def with_provider_after(seconds: float, order: tuple[str, ...] = ("lan", "url")) -> Scenario:
    """Return a boot with a provider that is found late, and a mirror in the policy."""
    scenario = lan_scenario(near=good_server(), far=good_server())
    scenario.lan = LateFinder(seconds)
    scenario.platform.table = policy_table(
        discovery={
            **policy_table()["discovery"],
            "order": list(order),
            "urls": [scenario.fetcher.manifest_url("far")],
        }
    )
    return scenario


def seconds_of_discover(scenario: Scenario) -> float:
    """Return how long the first Discover took."""
    (entered,) = (each["at"] for each in scenario.of("transition") if each["target"] == "discover")
    return float(scenario.of("candidate.found")[0]["at"]) - float(entered)


def test_a_mirror_is_taken_after_the_head_start_of_a_silent_network() -> None:
    scenario = with_provider_after(1e6)
    assert scenario.run() is State.TARGET
    assert [event["finder"] for event in scenario.of("candidate.found")] == ["url"]
    assert seconds_of_discover(scenario) == pytest.approx(HEAD_START_SECONDS)


def test_a_provider_found_within_the_head_start_is_preferred() -> None:
    scenario = with_provider_after(HEAD_START_SECONDS / 2)
    assert scenario.run() is State.TARGET
    assert [event["finder"] for event in scenario.of("candidate.found")] == ["lan"]
    assert seconds_of_discover(scenario) == pytest.approx(HEAD_START_SECONDS / 2)


def test_no_kind_waits_for_one_that_stands_later() -> None:
    scenario = with_provider_after(1e6, order=("url", "lan"))
    assert scenario.run() is State.TARGET
    assert seconds_of_discover(scenario) == pytest.approx(0)


def test_a_mirror_waits_for_no_network_that_cannot_be_searched() -> None:
    scenario = with_provider_after(0)
    scenario.lan, scenario.finder_broken = None, True
    assert scenario.run() is State.TARGET
    assert seconds_of_discover(scenario) == pytest.approx(0)


def test_a_late_provider_is_used_where_the_mirror_fails() -> None:
    scenario = with_provider_after(HEAD_START_SECONDS * 2)
    scenario.fetcher.servers["http://far"] = FakeServer({})
    assert scenario.run() is State.TARGET
    assert [event["finder"] for event in scenario.of("candidate.found")] == ["url", "lan"]


def test_the_version_on_cache_waits_for_the_whole_window() -> None:
    first = with_provider_after(0, order=("lan", "cache"))
    assert first.run() is State.TARGET
    alone = with_provider_after(1e6, order=("lan", "cache"))
    alone.cache = first.cache
    assert alone.run() is State.TARGET
    assert [event["finder"] for event in alone.of("candidate.found")] == ["cache"]
    assert seconds_of_discover(alone) == pytest.approx(WINDOW)
