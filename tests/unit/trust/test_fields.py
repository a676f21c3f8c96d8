from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from phase_boot.trust.fields import (
    list_of,
    matching,
    number_of,
    parse_channel,
    parse_date,
    parsed,
    table_of,
    text_of,
)
from phase_boot.trust.refusals import BadField


@pytest.mark.parametrize("text", ["stable", "a", "9", "-", "lab-2", "c" * 32])
def test_a_channel_is_up_to_32_of_a_few_characters(text: str) -> None:
    assert parse_channel(text) == text


@pytest.mark.parametrize("text", ["", "c" * 33, "Stable", "a b", "a.b", "a/b", "a\n", "\u00e9"])
def test_other_text_is_refused_as_a_channel(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a channel is 1 to 32 of a-z, 0-9 and -$"):
        parse_channel(text)


def test_a_date_is_read_to_the_microsecond_in_utc() -> None:
    assert parse_date("2025-11-12T08:00:00Z") == datetime(2025, 11, 12, 8, tzinfo=UTC)
    assert parse_date("2025-11-12T08:00:00.000001Z").microsecond == 1
    assert parse_date("2024-02-29T23:59:59Z").tzinfo is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-11-12",
        "2025-11-12T08:00:00",
        "2025-11-12T08:00:00z",
        "2025-11-12 08:00:00Z",
        "2025-11-12T08:00Z",
        "2025-11-12T08:00:00.Z",
        "2025-11-12T08:00:00.1234567Z",
        "2025-11-12T08:00:00+00:00",
        "2025-11-12T08:00:00Z\n",
        "20251112T080000Z",
        "\u0662025-11-12T08:00:00Z",
    ],
)
def test_other_text_is_refused_as_a_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a date is written as 2025-11-12T08:00:00Z$"):
        parse_date(text)


@pytest.mark.parametrize(
    "text", ["2025-02-29T00:00:00Z", "2025-11-12T24:00:01Z", "0000-01-01T00:00:00Z"]
)
def test_an_impossible_day_is_refused_as_a_date(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be in|out of range"):
        parse_date(text)


@pytest.mark.parametrize(
    ("value", "reason"), [(None, "missing"), (7, "not a text"), ([], "not a text")]
)
def test_a_field_that_is_no_text_is_refused_by_name(value: object, reason: str) -> None:
    for take in (text_of, lambda v, f: parsed(v, f, str), lambda v, f: matching(v, f, DIGITS)):
        with pytest.raises(BadField, match=rf"The field arch is not usable \({reason}\)"):
            take(value, "arch")


DIGITS = re.compile("[0-9]+")


def test_a_text_is_parsed_and_the_parsers_message_is_repeated() -> None:
    assert text_of("", "arch") == ""
    assert parsed("12", "size", int) == 12
    with pytest.raises(BadField, match=r"The field size is not usable \(invalid literal"):
        parsed("x", "size", int)


def test_a_text_must_have_its_shape_from_end_to_end() -> None:
    assert matching("42", "size", DIGITS) == "42"
    for text in ("", "4x", "x4", "4\n"):
        with pytest.raises(
            BadField, match=r"The field size is not usable \(too long, or with characters that do"
        ):
            matching(text, "size", DIGITS)


def test_an_object_is_read_and_other_types_are_refused() -> None:
    assert table_of({"a": 1}, "sizes") == {"a": 1}
    for value, reason in ((None, "missing"), ([], "not an object"), ("", "not an object")):
        with pytest.raises(BadField, match=rf"The field sizes is not usable \({reason}\)"):
            table_of(value, "sizes")


def test_a_list_is_read_up_to_its_bound() -> None:
    assert list_of([], "keys", most=0) == []
    assert list_of([1, 2], "keys", most=2) == [1, 2]
    values: tuple[object, ...] = (None, {}, "ab", (1, 2), [1, 2, 3])
    for value in values:
        with pytest.raises(
            BadField, match=r"The field keys is not usable \(not a list of at most 2\)"
        ):
            list_of(value, "keys", most=2)


def test_a_whole_number_within_its_bounds_is_read_and_true_is_refused() -> None:
    assert [number_of(n, "seq", least=1, most=3) for n in (1, 2, 3)] == [1, 2, 3]
    values: tuple[object, ...] = (0, 4, True, None, "2", 2.0)
    for value in values:
        with pytest.raises(
            BadField, match=r"The field seq is not usable \(not a whole number from 1 to 3\)"
        ):
            number_of(value, "seq", least=1, most=3)
