"""What an unattended machine keeps from one attempt to the next."""

from __future__ import annotations

import inspect

import pytest

from phase_boot.machine import errors
from phase_boot.machine.errors import BootError
from phase_boot.machine.retries import MAX_BANS, MAX_EARLY, SCHEDULE, Retries, Retry

WRITES = {"CannotStore", "CannotChainload"}
"""What is raised after artifacts were written to the stick."""


def test_pauses_of_a_passing_failure_grow_from_twenty_seconds_to_five_minutes() -> None:
    retries, pauses = Retries(), []
    for _ in range(10):
        pauses.append(retries.pause(Retry.SOON, 0.0))
        retries = retries.after(Retry.SOON, (), early=False, now=0.0)
    assert pauses == [20, 40, 80, 160, 300, 300, 300, 300, 300, 300]


def test_kinds_of_failures_are_counted_separately() -> None:
    retries = Retries()
    for _ in range(4):
        retries = retries.after(Retry.RARE, (), early=False, now=0.0)
        retries = retries.after(Retry.SOON, (), early=False, now=0.0)
    assert retries.pause(Retry.RARE, 0.0) == 300 * 2**4
    assert retries.total == 8


def test_no_schedule_is_without_a_pause_or_without_a_bound() -> None:
    for kind in Retry:
        assert Retries().pause(kind, 0.999) >= 10
        assert SCHEDULE[kind].longest <= 86_400


def test_a_method_that_wrote_to_the_stick_is_retried_ever_more_rarely() -> None:
    raised = {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, BootError) and kind is not BootError
    }
    assert {name for name, kind in raised.items() if kind.retry is Retry.RARE} == WRITES
    assert SCHEDULE[Retry.RARE].longest == 86_400


def test_a_source_is_banned_for_longer_each_time() -> None:
    retries, now, bans = Retries(), 0.0, []
    for _ in range(12):
        retries = retries.after(Retry.SOON, {"http://liar"}, early=False, now=now)
        (ban,) = retries.bans
        bans.append(ban.until - now)
        # It stays banned although the attempts in between did not ask it.
        retries = retries.after(Retry.SOON, retries.banned(now), early=False, now=now + 1)
        assert retries.banned(ban.until - 1) == {"http://liar"}
        assert retries.banned(ban.until) == frozenset()
        # The ban is over when the next attempt begins, and the server lies again.
        retries = retries.after(Retry.SOON, (), early=False, now=ban.until)
        now = ban.until + 10
    assert bans[:3] == [900, 1800, 3600]
    assert bans[-1] == 86_400


def test_bans_are_bounded_and_the_newest_stay() -> None:
    retries = Retries()
    for n in range(3 * MAX_BANS):
        retries = retries.after(Retry.SOON, {f"http://liar{n}"}, early=False, now=float(n))
    assert len(retries.bans) == MAX_BANS
    assert f"http://liar{3 * MAX_BANS - 1}" in retries.banned(3.0 * MAX_BANS)


@pytest.mark.parametrize("early", [True, False])
def test_after_a_few_early_retries_a_pause_is_kept_to_its_end(early: bool) -> None:  # noqa: FBT001 - a case
    retries = Retries()
    for _ in range(MAX_EARLY):
        assert retries.may_be_early
        retries = retries.after(Retry.SOON, (), early=True, now=0.0)
    assert not retries.may_be_early
    assert retries.after(Retry.SOON, (), early=early, now=0.0).may_be_early is not early
