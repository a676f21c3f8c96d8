"""Pauses before retries."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.machine.backoff import Backoff, retry_after

BACKOFF = Backoff(first=5, longest=300)
NOW = datetime(2025, 11, 20, 12, tzinfo=UTC)
chances = st.floats(min_value=0, max_value=1, exclude_max=True)


def test_pauses_double_up_to_the_longest() -> None:
    pauses = [BACKOFF.pause(failures, 0.0) for failures in range(1, 9)]
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300]


@given(st.lists(chances, min_size=2, max_size=20))
def test_no_pause_is_shorter_than_the_one_before_until_the_longest(drawn: list[float]) -> None:
    pauses = [BACKOFF.pause(n, chance) for n, chance in enumerate(drawn, start=1)]
    growing = [pause for n, pause in enumerate(pauses) if 5 * 2**n < 300]
    assert all(a <= b for a, b in itertools.pairwise(growing))


@given(st.integers(min_value=-5, max_value=10**9), st.floats(), st.none() | st.floats())
def test_a_requested_pause_is_bounded(failures: int, chance: float, asked: float | None) -> None:
    assert 2.5 <= BACKOFF.pause(failures, chance, retry_after=asked) <= 300


def test_after_a_week_of_failures_the_pause_is_the_longest() -> None:
    assert BACKOFF.pause(100_000, 0.0) == 300


def test_a_server_that_asks_for_more_time_gets_it_within_the_bound() -> None:
    assert BACKOFF.pause(1, 0.5, retry_after=42) == 42
    assert BACKOFF.pause(1, 0.5, retry_after=100_000) == 300


@pytest.mark.parametrize(
    ("first", "longest"), [(0, 1), (-1, 1), (2, 1), (1, math.inf), (math.nan, 1), (1, math.nan)]
)
def test_a_backoff_without_pauses_or_without_retries_is_refused(
    first: float, longest: float
) -> None:
    with pytest.raises(ValueError, match="longer than 0"):
        Backoff(first=first, longest=longest)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("120", None, 120.0),
        (" 0 ", None, 0.0),
        ("100000", None, 100_000.0),
        ("Thu, 20 Nov 2025 12:00:30 GMT", None, 30.0),
        ("Thu, 20 Nov 2025 11:00:00 GMT", None, 0.0),
        # The server's clock is an hour ahead: what counts is the difference to its own Date.
        ("Thu, 20 Nov 2025 13:00:10 GMT", "Thu, 20 Nov 2025 13:00:00 GMT", 10.0),
        ("Thursday, 20-Nov-25 12:00:30 GMT", None, 30.0),
        (None, None, None),
        ("", None, None),
        ("-5", None, None),
        ("1.5", None, None),
        ("soon", None, None),
        ("\u0661\u0662", None, None),
        ("9" * 65, None, None),
        ("Thu, 99 Nov 2025 12:00:30 GMT", None, None),
        ("Mon, 01 Jan 9999999999999999 00:00:00 GMT", None, None),
    ],
)
def test_a_retry_after_field_is_seconds_or_a_date(
    value: str | None, date: str | None, seconds: float | None
) -> None:
    assert retry_after(value, date=date, now=NOW) == seconds
