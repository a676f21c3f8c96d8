"""A machine that retries for days writes an unchanged fact once."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from phase_boot.drill.fake_privacy import GOOD, KEPT, SOUND, FakePrivacy
from phase_boot.drill.fake_servers import FakeServer
from phase_boot.drill.fakes import FakeFinder, MemorySink
from phase_boot.drill.scenario import Scenario, lan_scenario
from phase_boot.drill.scenarios import private
from phase_boot.drill.virtual_time import VirtualClock
from phase_boot.journal.event import Event
from phase_boot.journal.handoff_events import LoaderNotCleared
from phase_boot.journal.journal import MAX_LINES, Journal
from phase_boot.journal.run_events import Transition
from phase_boot.machine.graph import State, Trigger
from phase_boot.ports.clock import ClockNotSet
from phase_boot.ports.operator import Answer, MenuAction
from phase_boot.ports.privacy import Evidence

HOUR = 3600.0
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LEFT = Transition(
    source=State.SHELL,
    trigger=Trigger.AUTO_RETRY,
    target=State.INIT,
    cause=None,
    attempt=1,
    elapsed=0.0,
)
ALONE = replace(SOUND, interfaces=(KEPT,), configurations=())
BOTH = replace(SOUND, interfaces=(GOOD, KEPT))


class Unsettable(VirtualClock):
    """The clock of a desktop, which is behind for good."""

    def wall(self) -> datetime:
        return LONG_AGO

    def set_wall(self, to: datetime) -> None:  # noqa: ARG002 - the port's own signature
        raise ClockNotSet("only a stick sets the clock of its machine")


def alone(scenario: Scenario, until: float = 12 * HOUR) -> Scenario:
    scenario.operator.away_until = until
    scenario.operator.answers = [Answer(MenuAction.POWER_OFF)]
    return scenario


def retried(scenario: Scenario) -> Scenario:
    """Play to the end, and check that it retried and that its journal replays."""
    assert scenario.run() is State.OFF
    assert len(scenario.of("retry.scheduled")) > 20
    assert scenario.walk.end is State.OFF
    return scenario


def waiting_in_private(found: Evidence, *later: Evidence) -> Scenario:
    scenario = private()
    scenario.fetcher.servers = {base: FakeServer({}) for base in scenario.fetcher.servers}
    scenario.privacy = FakePrivacy(found, later=list(later))
    return alone(scenario)


def test_a_card_that_stays_down_is_named_once_over_all_retries() -> None:
    scenario = retried(waiting_in_private(BOTH))
    assert [event["interface"] for event in scenario.of("link.refused")] == ["eth1"]
    assert len(scenario.of("privacy.checked")) == len(scenario.of("retry.scheduled"))


def test_the_only_card_that_stays_down_is_named_once_over_all_retries() -> None:
    scenario = waiting_in_private(ALONE)
    scenario.network.up = False
    assert [event["interface"] for event in retried(scenario).of("link.refused")] == ["eth1"]


def test_a_card_whose_cause_changes_is_named_again() -> None:
    other = replace(KEPT, refused="it was up before")
    scenario = waiting_in_private(BOTH, BOTH, replace(BOTH, interfaces=(GOOD, other)))
    reasons = [event["reason"] for event in retried(scenario).of("link.refused")]
    assert len(reasons) == 2
    assert "Operation not supported" in reasons[0]
    assert "it was up before" in reasons[1]


def test_a_card_that_was_away_for_an_attempt_is_named_again() -> None:
    scenario = waiting_in_private(BOTH, SOUND, BOTH)
    assert len(retried(scenario).of("link.refused")) == 2


def test_no_unchanged_fact_is_written_by_every_retry() -> None:
    scenario = alone(lan_scenario(empty=FakeServer({})))
    scenario.platform.stages = (("firmware", -2.0), ("kernel", 0.0))
    scenario.loader.unstage_refusal = "the partition is write-protected"
    scenario.clock = Unsettable()
    scenario.lan = FakeFinder([], broken=True)
    written = Counter(event["event"] for event in retried(scenario).events)
    once = {"stage": 2, "loader.not_cleared": 1, "clock.not_set": 1, "finder.failed": 1}
    assert {name: written[name] for name in once} == once


def test_a_fact_that_a_long_journal_dropped_is_written_again() -> None:
    lines = MemorySink()
    journal = Journal([lines], now=lambda: 0.0, boot_id="b00t")
    event = LoaderNotCleared(reason="the partition is write-protected")
    for attempt in range(3 * MAX_LINES):
        if attempt:
            journal.emit(event)
        journal.emit(LEFT)
    assert 1 < sum(event.event in line for line in lines.lines) < 5
    assert sum(event.event in line for line in journal.lines) == 1


@pytest.mark.parametrize("kind", Event.__subclasses__())
def test_the_fields_of_deduplicated_events_are_comparable(kind: type[Event]) -> None:
    compared = {each.name: each.type for each in fields(kind) if each.compare}
    assert not kind.deduplicated or set(compared.values()) <= {"str", "float"}
