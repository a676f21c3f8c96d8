"""The system clock follows "now", and the date that a person sets (ADR 0004)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from phase_boot.drill.fake_servers import good_server
from phase_boot.drill.sample_manifest import NOW
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.drill.virtual_time import VirtualClock
from phase_boot.machine.graph import State
from phase_boot.ports.clock import ClockNotSet
from phase_boot.ports.operator import Answer, MenuAction

BUILT = datetime(2025, 11, 1, tzinfo=UTC)
"""The build date of the drill's seed."""
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
AHEAD = datetime(2100, 1, 1, tzinfo=UTC)


class Unsettable(VirtualClock):
    """The clock of a desktop."""

    def set_wall(self, to: datetime) -> None:  # noqa: ARG002 - the port's own signature
        raise ClockNotSet("only a stick sets the clock of its machine")


def at(wall: datetime, *answers: Answer, expires: str | None = None) -> Scenario:
    scenario = lan_scenario(peer=good_server(**({"expires": expires} if expires else {})))
    scenario.clock = VirtualClock(wall)
    scenario.operator.answers = list(answers)
    return scenario


def clock_set_to(wall: datetime) -> Answer:
    return Answer(MenuAction.CLOCK, wall=wall)


def now_of(scenario: Scenario) -> datetime:
    assert scenario.boot is not None
    assert scenario.boot.now is not None
    return scenario.boot.now


def test_a_clock_behind_the_build_date_is_set_to_it() -> None:
    scenario = at(LONG_AGO)
    scenario.run()
    (event,) = scenario.of("clock.set")
    assert (event["before"][:10], event["after"][:10]) == ("2020-01-01", "2025-11-01")
    assert scenario.of("transition")[0]["target"] == "net_up"


def test_a_clock_behind_the_newest_seen_version_is_set_to_its_issue_date() -> None:
    first = at(NOW)
    assert first.run() is State.TARGET
    assert not first.of("clock.set")
    again = at(LONG_AGO)
    again.cache = first.cache
    assert again.run() is State.TARGET
    assert first.boot is not None
    issued = first.boot.seen.issued
    assert issued is not None
    assert issued > BUILT
    built, newest = again.of("clock.set")
    assert built["after"] == BUILT.isoformat(timespec="seconds")
    assert newest["after"] == issued.isoformat(timespec="seconds")
    assert now_of(again) == issued


def test_a_clock_that_is_ahead_is_never_set_back_automatically() -> None:
    scenario = at(AHEAD)
    scenario.run()
    assert not scenario.of("clock.set")
    assert now_of(scenario) >= AHEAD


def test_times_of_the_journal_do_not_jump_with_the_clock() -> None:
    scenario = at(LONG_AGO)
    scenario.run()
    times = [event["at"] for event in scenario.events]
    assert times == sorted(times)
    assert times[-1] < timedelta(days=1).total_seconds()


def test_a_clock_that_cannot_be_set_is_reported_and_the_boot_continues() -> None:
    first = at(NOW)
    first.run()
    scenario = at(LONG_AGO)
    scenario.cache, scenario.clock = first.cache, Unsettable(LONG_AGO)
    assert scenario.run() is State.TARGET
    assert {event["reason"] for event in scenario.of("clock.not_set")} == {
        "only a stick sets the clock of its machine"
    }


def test_a_person_sets_a_clock_that_was_ahead_and_the_boot_restarts() -> None:
    scenario = at(AHEAD, clock_set_to(NOW))
    assert scenario.run() is State.TARGET
    assert scenario.of("candidate.refused")[0]["code"] == "manifest.expired"
    (event,) = scenario.of("clock.set")
    assert event["after"] == NOW.isoformat(timespec="seconds")
    assert abs(now_of(scenario) - NOW) < timedelta(hours=1)


@pytest.mark.parametrize("wall", [BUILT - timedelta(seconds=1), AHEAD + timedelta(days=36525)])
def test_no_clock_is_set_to_before_the_build_date_or_to_the_far_future(wall: datetime) -> None:
    scenario = at(AHEAD, clock_set_to(wall))
    assert scenario.run() is State.OFF
    note = scenario.operator.reports[1].note
    assert (
        note
        == "The clock is as it was: type a time in UTC between 2025-11-01 00:00 and 2200-01-01."
    )
    assert not scenario.of("clock.set")


def test_a_clock_set_back_by_a_person_stays_bound_to_the_newest_seen_version() -> None:
    first = at(NOW)
    first.run()
    assert first.boot is not None
    issued = first.boot.seen.issued
    scenario = at(AHEAD, clock_set_to(BUILT))
    scenario.cache = first.cache
    assert scenario.run() is State.TARGET
    assert now_of(scenario) == issued
    assert [event["after"][:10] for event in scenario.of("clock.set")][-1] == f"{issued:%Y-%m-%d}"


def test_a_clock_that_a_person_cannot_set_is_reported_and_the_menu_returns() -> None:
    scenario = at(AHEAD, clock_set_to(NOW))
    scenario.clock = Unsettable(AHEAD)
    assert scenario.run() is State.OFF
    note = scenario.operator.reports[1].note
    assert note == "The clock could not be set: only a stick sets the clock of its machine."


def test_without_a_given_time_the_clock_is_unchanged() -> None:
    scenario = at(AHEAD, Answer(MenuAction.CLOCK))
    assert scenario.run() is State.OFF
    assert scenario.operator.reports[1].note == "The clock is as it was."
