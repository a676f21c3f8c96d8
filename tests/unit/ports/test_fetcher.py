"""The retry time of a failed fetch."""

from __future__ import annotations

import math

import pytest

from phase_boot.ports.fetcher import MAX_RETRY_AFTER_SECONDS, FetchFailed


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (None, None),
        (2.5, 2.5),
        (0, 0.0),
        (-7, 0.0),
        (100_000, MAX_RETRY_AFTER_SECONDS),
        (math.inf, MAX_RETRY_AFTER_SECONDS),
        (math.nan, MAX_RETRY_AFTER_SECONDS),
    ],
)
def test_a_source_cannot_ask_for_a_pause_beyond_the_bound(
    asked: float | None, kept: float | None
) -> None:
    assert FetchFailed("HTTP 503", retryable=True, retry_after=asked).retry_after == kept
