"""Nobody is at the machine: it goes on trying by itself, and one key stops it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from phase_boot.content.digest import Digest
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_mirrors import Site, good_site
from phase_boot.drill.fake_network import ETH0
from phase_boot.drill.sample_manifest import KERNEL, STRANGER, document, signed
from phase_boot.drill.scenario import Scenario, scene
from phase_boot.journal.retention import MAX_LINES
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
    origin: str = "lan"
    asked: list[float] = field(default_factory=list)

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        now = asyncio.get_running_loop().time
        self.asked.append(now())
        due = now() + query.seconds
        for url, since in sorted(self.announced.items(), key=lambda each: each[1]):
            if since > due:
                break
            await asyncio.sleep(max(0.0, since - now()))
            yield Candidate(url=url, origin=self.origin)
        await asyncio.sleep(max(0.0, due - now()))


def alone(play: Scenario, until: float = WEEK) -> Scenario:
    """Return a boot at which nobody is for so long; then somebody switches the machine off."""
    play.operator.away_until = until
    play.operator.answers = [Answer(MenuAction.POWER_OFF)]
    return play


def ended(play: Scenario) -> float:
    return float(play.events[-1]["at"])


def pauses(play: Scenario) -> list[float]:
    return [event["seconds"] for event in play.of("retry.scheduled")]


def moves(play: Scenario, trigger: str) -> list[dict[str, Any]]:
    return [event for event in play.of("transition") if event["trigger"] == trigger]


@pytest.mark.parametrize("mode", ["internet", "local", "private"])
def test_a_mirror_that_is_down_for_ten_minutes_needs_no_person(mode: str) -> None:
    site = good_site()
    site.up_at = 600.0
    play = alone(scene(mirror=site))
    play.platform.table |= {"mode": mode, "cache_enabled": mode != "private"}
    if mode == "local":
        play.platform.table["network"]["reach"] = "lan"
    assert play.play() is State.TARGET
    assert 600 < ended(play) < 1000
    assert play.walk.end is State.TARGET


def test_the_pause_grows_and_is_bounded_for_days_of_retries() -> None:
    play = alone(scene(mirror=Site({})), until=48 * HOUR)
    assert play.play() is State.OFF
    grown = pauses(play)
    assert len(grown) > 500
    assert grown[:6] == sorted(grown[:6])
    assert grown[0] >= 2.5
    assert all(150 <= pause <= 300 for pause in grown[6:])
    assert {event["source"] for event in moves(play, "auto_retry")} == {"shell"}


def test_a_mirror_is_not_hammered_by_a_machine_that_waits() -> None:
    site = good_site()
    site.busy_until = 1e9
    play = alone(scene(mirror=site), until=24 * HOUR)
    assert play.play() is State.OFF
    assert len(site.asked_at) < 24 * 60


def test_one_key_stops_it_until_a_person_chooses() -> None:
    play = alone(scene(mirror=Site({})), until=8.0)
    play.operator.thinks = HOUR
    play.operator.answers = [Answer(MenuAction.SAVE), Answer(MenuAction.POWER_OFF)]
    assert play.play() is State.OFF
    assert len(play.of("retry.stopped")) == 1
    assert len(moves(play, "auto_retry")) <= 1
    # The menu that comes back after a report does not count down again.
    assert [report.retry_in is None for report in play.operator.reports][-1]
    assert ended(play) > HOUR


def test_after_a_person_has_chosen_and_left_it_tries_by_itself_again() -> None:
    site = good_site()
    site.up_at = HOUR
    play = scene(mirror=site)
    play.operator.answers = [Answer(MenuAction.RETRY)]
    play.operator.leaves = True
    assert play.play() is State.TARGET
    assert pauses(play)[1] <= FIRST_PAUSE


def test_a_policy_that_says_so_waits_for_a_person() -> None:
    play = alone(scene(mirror=Site({})), until=HOUR)
    play.platform.table["shell"]["unattended"] = False
    assert play.play() is State.OFF
    assert play.of("retry.scheduled") == []
    assert moves(play, "auto_retry") == []
    assert play.operator.reports[0].retry_in is None


def test_a_dry_run_that_was_not_asked_to_does_not_try_again() -> None:
    play = alone(scene(mirror=Site({})), until=HOUR)
    play.start = BootContext(unattended=False)
    assert play.play() is State.OFF
    assert moves(play, "auto_retry") == []


def test_the_shell_says_when_it_tries_again() -> None:
    play = alone(scene(mirror=Site({})), until=4.0)
    play.play()
    report = play.operator.reports[0]
    assert report.retry_in is not None
    assert f"by itself in {report.retry_in:.0f} s unless a key is pressed" in report.way_out
    assert "tries again by itself" in play.of("shell.opened")[0]["way_out"]


def test_a_provider_that_appears_meanwhile_is_taken_at_once() -> None:
    play = scene(good=good_site())
    url = play.sites.manifest_url("good")
    play.lan = LateProviders({url: 200.0})
    alone(play)
    assert play.play() is State.TARGET
    assert 200 < ended(play) < 205
    (early,) = play.of("retry.early")
    assert url in early["reason"]


def test_a_flood_of_new_announcements_is_no_way_to_a_loop_without_pauses() -> None:
    play = scene(bad=Site({}))
    announced = {f"http://bad/{n}/m.json": 10.0 + n for n in range(2000)}
    hosts = {f"http://bad{n}": Site({}) for n in range(2000)}
    play.sites.by_base |= hosts
    announced = {f"{base}/m.json": 20.0 + n for n, base in enumerate(hosts)}
    play.lan = LateProviders(announced)
    alone(play, until=1500.0)
    assert play.play() is State.OFF
    early = len(play.of("retry.early"))
    timed = len(moves(play, "auto_retry")) - early
    assert 0 < early <= (MAX_EARLY + 1) * (timed + 1)
    assert len(moves(play, "auto_retry")) < 60


def test_a_provider_that_has_just_failed_and_is_still_announced_is_no_news() -> None:
    play = scene(bad=Site({}))
    play.lan = LateProviders({play.sites.manifest_url("bad"): 0.0})
    alone(play, until=HOUR)
    assert play.play() is State.OFF
    assert play.of("retry.early") == []


def test_a_cable_that_is_put_back_is_used_at_once() -> None:
    play = alone(scene(good=good_site()))
    play.network.up = False
    play.network.later = ((2 * HOUR, (ETH0,)),)
    assert play.play() is State.TARGET
    assert 2 * HOUR < ended(play) < 2 * HOUR + 30
    assert play.operator.reports


def test_a_further_network_that_comes_up_is_used_at_once() -> None:
    late = good_site()
    late.up_at = 3 * HOUR
    play = alone(scene(good=late))
    eth1 = Link("eth1", ("10.9.0.2/24",))
    play.network.later = ((3 * HOUR, (ETH0, eth1)),)
    assert play.play() is State.TARGET
    assert 3 * HOUR < ended(play) < 3 * HOUR + 5
    assert "eth1" in play.of("retry.early")[0]["reason"]


def test_a_gateway_that_came_while_discover_looked_is_no_news() -> None:
    play = scene()
    play.lan = LateProviders({})
    alone(play, until=HOUR)
    router = replace(ETH0, gateways=(*ETH0.gateways, "fe80::1"))
    play.network.later = ((0.5, (router,)),)
    assert play.play() is State.OFF
    assert play.of("retry.scheduled")
    assert play.of("retry.early") == []


def test_a_failure_that_waiting_does_not_mend_is_tried_at_the_longest_pause() -> None:
    play = alone(scene(good=good_site()), until=HOUR)
    play.platform.table["channel"] = "no such channel!"
    assert play.play() is State.OFF
    assert all(150 <= pause <= 300 for pause in pauses(play))
    assert play.of("retry.scheduled")[0]["kind"] == "late"


def test_after_two_failures_of_the_daemon_it_tries_again_after_a_long_pause() -> None:
    play = alone(scene(good=good_site()))
    play.start = BootContext(
        failure=Failure(name="Failed", sentence="Phase Boot itself failed twice")
    )
    assert play.play() is State.TARGET
    assert 150 <= pauses(play)[0] <= 300
    assert len(pauses(play)) == 1


def test_a_policy_that_waits_for_a_person_is_heeded_after_failures_of_the_daemon_too() -> None:
    play = alone(scene(good=good_site()), until=HOUR)
    play.platform.table["shell"]["unattended"] = False
    play.start = BootContext(
        failure=Failure(name="Failed", sentence="Phase Boot itself failed twice")
    )
    assert play.play() is State.OFF
    assert play.of("retry.scheduled") == []


def test_an_image_that_cannot_be_staged_is_not_written_to_the_stick_every_few_minutes() -> None:
    play = alone(scene(good=good_site()))
    play.kexec.refuse("the running kernel is locked down", lasting=True)
    play.loader.refusal = "the stick is write-protected"
    assert play.play() is State.OFF
    assert len(play.walk.states) < 200
    assert [state for state in play.walk.states if state is State.CHAINLOAD][1:]
    assert play.walk.states.count(State.CHAINLOAD) < 25


def lying_site() -> Site:
    site = good_site()
    path = f"cas/sha256/{Digest.of(KERNEL).hex}"
    site.twist = lambda asked, data: bytes(len(data)) if asked == path else data
    return site


def test_a_liar_is_not_asked_by_every_retry_and_may_recover() -> None:
    site = lying_site()
    play = alone(scene(liar=site), until=24 * HOUR)
    assert play.play() is State.OFF
    assert play.of("retry.scheduled")[50:]
    kernel = f"cas/sha256/{Digest.of(KERNEL).hex}"
    assert 2 <= site.asked[kernel] < 20
    assert play.kexec.kernel is None


def test_a_manifest_that_is_published_while_the_machine_waits_is_not_from_the_future() -> None:
    site = Site({})
    later = signed(
        document(mirrors=[], issued="2025-11-22T12:00:00Z", expires="2026-03-01T00:00:00Z")
    )
    play = alone(scene(mirror=site))

    async def publishing() -> Any:
        async def publish() -> None:
            await asyncio.sleep(48 * HOUR)
            site.files.update(good_site().files)
            site.files["stable/amd64/manifest.json"] = later

        task = asyncio.create_task(publish())
        try:
            return await play.driving()
        finally:
            task.cancel()

    end, _ = virtual_time.run(publishing())
    assert end is State.TARGET


def test_nothing_unsigned_starts_however_often_it_is_tried() -> None:
    evil = Site({"stable/amd64/manifest.json": signed(document(mirrors=[]), STRANGER)})
    play = alone(scene(evil=evil), until=24 * HOUR)
    assert play.play() is State.OFF
    assert play.kexec.kernel is None
    assert len(play.of("candidate.refused")) > 100


def test_a_machine_that_waits_for_days_writes_its_state_once() -> None:
    site = good_site()
    for path in [path for path in site.files if path.startswith("cas/")]:
        del site.files[path]
    play = alone(scene(empty=site), until=12 * HOUR)
    assert play.play() is State.OFF
    assert len(play.of("manifest.verified")) > 100
    assert play.cache.notes.writes == 1


def test_the_journal_of_days_of_waiting_is_bounded_and_replays() -> None:
    play = alone(scene(mirror=Site({})), until=40 * HOUR)
    assert play.play() is State.OFF
    assert len(play.events) > MAX_LINES
    (report, *_) = play.operator.reports[-1:]
    assert len(report.journal) <= 1000
    assert play.walk.end is State.OFF
