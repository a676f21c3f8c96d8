from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.provider.http.ranges import HttpRange, RangeNotSatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", HttpRange(0, 1)),
        ("bytes=10-19", HttpRange(10, 10)),
        ("bytes=90-", HttpRange(90, 10)),
        ("bytes=90-200", HttpRange(90, 10)),
        ("bytes=-7", HttpRange(93, 7)),
        ("bytes=-200", HttpRange(0, 100)),
        ("Bytes=5-6", HttpRange(5, 2)),
    ],
)
def test_a_single_range_is_a_part(header: str, span: HttpRange) -> None:
    assert parse_range(header, 100) == span


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-4",
        "bytes=0-1,5-6",
        "lines=0-1",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1-2\x00",
        "bytes=\u0661-2",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_any_other_range_means_the_whole_file(header: str) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_has_no_answer(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 100)


def test_an_empty_file_has_no_range() -> None:
    for header in ("bytes=0-", "bytes=-5"):
        with pytest.raises(RangeNotSatisfiable):
            parse_range(header, 0)


@given(st.text("bytes=-0123456789, ", max_size=24) | st.text(max_size=24), st.integers(0, 2**40))
def test_no_header_asks_for_bytes_outside_of_the_file(header: str, size: int) -> None:
    try:
        span = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    assert span is None or 0 <= span.start < span.start + span.count <= size
