"""An unattended machine retries by itself, and one key stops it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_network import ETH0
from phase_boot.drill.fake_servers import FakeServer, good_server
from phase_boot.drill.sample_manifest import KERNEL, UNTRUSTED_KEY, document, signed
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.journal.journal import MAX_LINES
from phase_boot.machine.boot import BootContext, Failure
from phase_boot.machine.graph import State
from phase_boot.machine.retries import FIRST_PAUSE, MAX_EARLY
from phase_boot.ports.finder import Candidate, DiscoveryQuery
from phase_boot.ports.network import Link
from phase_boot.ports.operator import Answer, MenuAction

HOUR = 3600.0
WEEK = 7 * 24 * HOUR


@dataclass
class LateProviders:
    """Implements `ports.finder.Finder`: each URL is announced from a time on."""

    announced: dict[str, float]
    kind: str = "lan"
    asked: list[float] = field(default_factory=list)

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        now = asyncio.get_running_loop().time
        self.asked.append(now())
        due = now() + query.seconds
        for url, since in sorted(self.announced.items(), key=lambda each: each[1]):
            if since > due:
                break
            await asyncio.sleep(max(0.0, since - now()))
            yield Candidate(url=url, finder=self.kind)
        await asyncio.sleep(max(0.0, due - now()))


def alone(scenario: Scenario, until: float = WEEK) -> Scenario:
    """Return a boot without an operator for this long; then a person powers off."""
    scenario.operator.away_until = until
    scenario.operator.answers = [Answer(MenuAction.POWER_OFF)]
    return scenario


def ended(scenario: Scenario) -> float:
    return float(scenario.events[-1]["at"])


def pauses(scenario: Scenario) -> list[float]:
    return [event["seconds"] for event in scenario.of("retry.scheduled")]


def moves(scenario: Scenario, trigger: str) -> list[dict[str, Any]]:
    return [event for event in scenario.of("transition") if event["trigger"] == trigger]


@pytest.mark.parametrize("mode", ["internet", "local", "private"])
def test_a_mirror_that_is_down_for_ten_minutes_needs_no_person(mode: str) -> None:
    server = good_server()
    server.up_at = 600.0
    scenario = alone(lan_scenario(mirror=server))
    scenario.platform.table |= {"mode": mode, "cache_enabled": mode != "private"}
    if mode == "local":
        scenario.platform.table["network"]["reach"] = "lan"
    assert scenario.run() is State.TARGET
    assert 600 < ended(scenario) < 1000
    assert scenario.walk.end is State.TARGET


@pytest.fixture(scope="module")
def two_days() -> Scenario:
    """Return a boot that tried for two days, at a mirror that has nothing."""
    scenario = alone(lan_scenario(mirror=FakeServer({})), until=48 * HOUR)
    assert scenario.run() is State.OFF
    return scenario


def test_the_pause_grows_and_is_bounded_for_days_of_retries(two_days: Scenario) -> None:
    grown = pauses(two_days)
    assert len(grown) > 500
    assert grown[:6] == sorted(grown[:6])
    assert grown[0] >= 2.5
    assert all(150 <= pause <= 300 for pause in grown[6:])
    assert {event["source"] for event in moves(two_days, "auto_retry")} == {"shell"}


def test_a_mirror_is_not_hammered_by_a_machine_that_waits() -> None:
    server = good_server()
    server.busy_until = 1e9
    scenario = alone(lan_scenario(mirror=server), until=24 * HOUR)
    assert scenario.run() is State.OFF
    assert len(server.request_times) < 24 * 60


def test_one_key_stops_the_countdown_until_a_person_chooses() -> None:
    scenario = alone(lan_scenario(mirror=FakeServer({})), until=8.0)
    scenario.operator.answer_seconds = HOUR
    scenario.operator.answers = [Answer(MenuAction.SAVE), Answer(MenuAction.POWER_OFF)]
    assert scenario.run() is State.OFF
    assert len(scenario.of("retry.stopped")) == 1
    assert len(moves(scenario, "auto_retry")) <= 1
    # The menu that comes back after a report does not count down again.
    assert [report.retry_in is None for report in scenario.operator.reports][-1]
    assert ended(scenario) > HOUR


def test_after_a_person_has_chosen_unattended_retries_continue() -> None:
    server = good_server()
    server.up_at = HOUR
    scenario = lan_scenario(mirror=server)
    scenario.operator.answers = [Answer(MenuAction.RETRY)]
    scenario.operator.stays_away = True
    assert scenario.run() is State.TARGET
    assert pauses(scenario)[1] <= FIRST_PAUSE


def test_a_policy_without_unattended_waits_for_a_person() -> None:
    scenario = alone(lan_scenario(mirror=FakeServer({})), until=HOUR)
    scenario.platform.table["shell"]["unattended"] = False
    assert scenario.run() is State.OFF
    assert scenario.of("retry.scheduled") == []
    assert moves(scenario, "auto_retry") == []
    assert scenario.operator.reports[0].retry_in is None


def test_a_dry_run_does_not_retry_by_default() -> None:
    scenario = alone(lan_scenario(mirror=FakeServer({})), until=HOUR)
    scenario.start = BootContext(unattended=False)
    assert scenario.run() is State.OFF
    assert moves(scenario, "auto_retry") == []


def test_the_shell_shows_the_time_of_the_next_retry() -> None:
    scenario = alone(lan_scenario(mirror=FakeServer({})), until=4.0)
    scenario.run()
    report = scenario.operator.reports[0]
    assert report.retry_in is not None
    assert f"by itself in {report.retry_in:.0f} s unless a key is pressed" in report.way_out
    assert "tries again by itself" in scenario.of("shell.opened")[0]["way_out"]


def test_a_provider_that_appears_during_the_pause_is_used_at_once() -> None:
    scenario = lan_scenario(good=good_server())
    url = scenario.fetcher.manifest_url("good")
    scenario.lan = LateProviders({url: 200.0})
    alone(scenario)
    assert scenario.run() is State.TARGET
    assert 200 < ended(scenario) < 205
    (early,) = scenario.of("retry.early")
    assert url in early["reason"]


def test_a_flood_of_announcements_causes_no_retries_without_pauses() -> None:
    scenario = lan_scenario(bad=FakeServer({}))
    announced = {f"http://bad/{n}/m.json": 10.0 + n for n in range(2000)}
    hosts = {f"http://bad{n}": FakeServer({}) for n in range(2000)}
    scenario.fetcher.servers |= hosts
    announced = {f"{base}/m.json": 20.0 + n for n, base in enumerate(hosts)}
    scenario.lan = LateProviders(announced)
    alone(scenario, until=1500.0)
    assert scenario.run() is State.OFF
    early = len(scenario.of("retry.early"))
    timed = len(moves(scenario, "auto_retry")) - early
    assert 0 < early <= (MAX_EARLY + 1) * (timed + 1)
    assert len(moves(scenario, "auto_retry")) < 60


def test_a_provider_that_just_failed_does_not_trigger_a_retry() -> None:
    scenario = lan_scenario(bad=FakeServer({}))
    scenario.lan = LateProviders({scenario.fetcher.manifest_url("bad"): 0.0})
    alone(scenario, until=HOUR)
    assert scenario.run() is State.OFF
    assert scenario.of("retry.early") == []


def test_a_cable_that_is_put_back_is_used_at_once() -> None:
    scenario = alone(lan_scenario(good=good_server()))
    scenario.network.up = False
    scenario.network.later = ((2 * HOUR, (ETH0,)),)
    assert scenario.run() is State.TARGET
    assert 2 * HOUR < ended(scenario) < 2 * HOUR + 30
    assert scenario.operator.reports


def test_a_further_network_that_comes_up_is_used_at_once() -> None:
    late = good_server()
    late.up_at = 3 * HOUR
    scenario = alone(lan_scenario(good=late))
    eth1 = Link("eth1", ("10.9.0.2/24",))
    scenario.network.later = ((3 * HOUR, (ETH0, eth1)),)
    assert scenario.run() is State.TARGET
    assert 3 * HOUR < ended(scenario) < 3 * HOUR + 5
    assert "eth1" in scenario.of("retry.early")[0]["reason"]


def test_a_gateway_that_came_during_discover_does_not_trigger_a_retry() -> None:
    scenario = lan_scenario()
    scenario.lan = LateProviders({})
    alone(scenario, until=HOUR)
    router = replace(ETH0, gateways=(*ETH0.gateways, "fe80::1"))
    scenario.network.later = ((0.5, (router,)),)
    assert scenario.run() is State.OFF
    assert scenario.of("retry.scheduled")
    assert scenario.of("retry.early") == []


def test_a_permanent_failure_is_retried_at_the_longest_pause() -> None:
    scenario = alone(lan_scenario(good=good_server()), until=HOUR)
    scenario.platform.table["channel"] = "no such channel!"
    assert scenario.run() is State.OFF
    assert all(150 <= pause <= 300 for pause in pauses(scenario))
    assert scenario.of("retry.scheduled")[0]["kind"] == "late"


def test_after_two_failures_of_the_daemon_it_tries_again_after_a_long_pause() -> None:
    scenario = alone(lan_scenario(good=good_server()))
    scenario.start = BootContext(
        failure=Failure(name="Failed", sentence="Phase Boot itself failed twice")
    )
    assert scenario.run() is State.TARGET
    assert 150 <= pauses(scenario)[0] <= 300
    assert len(pauses(scenario)) == 1


def test_a_policy_that_waits_for_a_person_is_heeded_after_failures_of_the_daemon_too() -> None:
    scenario = alone(lan_scenario(good=good_server()), until=HOUR)
    scenario.platform.table["shell"]["unattended"] = False
    scenario.start = BootContext(
        failure=Failure(name="Failed", sentence="Phase Boot itself failed twice")
    )
    assert scenario.run() is State.OFF
    assert scenario.of("retry.scheduled") == []


def test_an_image_that_cannot_be_staged_is_not_written_to_the_stick_every_few_minutes() -> None:
    scenario = alone(lan_scenario(good=good_server()))
    scenario.kexec.refuse("the running kernel is locked down", lasting=True)
    scenario.loader.refusal = "the stick is write-protected"
    assert scenario.run() is State.OFF
    assert len(scenario.walk.states) < 200
    assert [state for state in scenario.walk.states if state is State.CHAINLOAD][1:]
    assert scenario.walk.states.count(State.CHAINLOAD) < 25


def tampering_server() -> FakeServer:
    server = good_server()
    path = f"cas/sha256/{Digest.of(KERNEL).hex}"
    server.tamper = lambda asked, data: bytes(len(data)) if asked == path else data
    return server


def test_a_banned_source_is_not_requested_by_every_retry_and_may_recover() -> None:
    server = tampering_server()
    scenario = alone(lan_scenario(liar=server), until=24 * HOUR)
    assert scenario.run() is State.OFF
    assert scenario.of("retry.scheduled")[50:]
    kernel = f"cas/sha256/{Digest.of(KERNEL).hex}"
    assert 2 <= server.requests[kernel] < 20
    assert scenario.kexec.kernel is None


def test_a_manifest_that_is_published_while_the_machine_waits_is_not_from_the_future() -> None:
    server = FakeServer({})
    later = signed(
        document(mirrors=[], issued="2025-11-22T12:00:00Z", expires="2026-03-01T00:00:00Z")
    )
    scenario = alone(lan_scenario(mirror=server))

    async def publishing() -> Any:
        async def publish() -> None:
            await asyncio.sleep(48 * HOUR)
            server.files.update(good_server().files)
            server.files["stable/amd64/manifest.json"] = later

        task = asyncio.create_task(publish())
        try:
            return await scenario.drive()
        finally:
            task.cancel()

    end, _ = virtual_time.run(publishing())
    assert end is State.TARGET


def test_no_number_of_retries_starts_an_unsigned_image() -> None:
    evil = FakeServer({"stable/amd64/manifest.json": signed(document(mirrors=[]), UNTRUSTED_KEY)})
    scenario = alone(lan_scenario(evil=evil), until=24 * HOUR)
    assert scenario.run() is State.OFF
    assert scenario.kexec.kernel is None
    assert len(scenario.of("candidate.refused")) > 100


def test_a_machine_that_waits_for_days_writes_its_state_once() -> None:
    server = good_server()
    for path in [path for path in server.files if path.startswith("cas/")]:
        del server.files[path]
    scenario = alone(lan_scenario(empty=server), until=12 * HOUR)
    assert scenario.run() is State.OFF
    assert len(scenario.of("manifest.verified")) > 100
    assert scenario.cache.state_files.writes == 1


def test_the_journal_of_days_of_waiting_is_bounded_and_replays(two_days: Scenario) -> None:
    assert len(two_days.events) > MAX_LINES
    (report, *_) = two_days.operator.reports[-1:]
    assert len(report.events) <= 1000
    assert two_days.walk.end is State.OFF
