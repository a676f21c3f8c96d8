"""DAG-CBOR: each map has one encoding, and no other bytes are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.trust.dag_cbor import LIMIT, MAX_FIELDS, BadCbor, Value, decode, encode

VALUES = st.one_of(st.integers(0, LIMIT - 1), st.binary(max_size=300), st.text(max_size=300))
MAPS = st.dictionaries(st.text(max_size=30), VALUES, max_size=MAX_FIELDS)


@given(MAPS)
def test_a_map_round_trips_in_the_order_of_its_keys(fields: dict[str, Value]) -> None:
    read = decode(encode(fields))
    assert read == fields
    assert list(read) == sorted(fields, key=lambda name: (len(name.encode()), name.encode()))
    assert encode(read) == encode(dict(reversed(fields.items())))


@given(st.binary(max_size=40))
def test_bytes_are_refused_or_the_encoding_of_what_is_read(data: bytes) -> None:
    try:
        fields = decode(b"\xa1" + data)
    except BadCbor:
        return
    assert encode(fields) == b"\xa1" + data


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (23, "17"),
        (24, "1818"),
        (255, "18ff"),
        (256, "190100"),
        (65535, "19ffff"),
        (65536, "1a00010000"),
        (2**32 - 1, "1affffffff"),
        (2**32, "1b0000000100000000"),
        (2**64 - 1, "1bffffffffffffffff"),
    ],
)
def test_a_number_has_its_shortest_form(number: int, encoded: str) -> None:
    assert encode({"a": number}) == bytes.fromhex("a16161" + encoded)
    assert decode(encode({"a": number})) == {"a": number}


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_out_of_range_is_not_encoded(number: int) -> None:
    with pytest.raises(ValueError, match="is not a whole number from 0 to 2"):
        encode({"a": number})


def test_keys_are_sorted_by_length_first() -> None:
    assert encode({"b": 1, "aa": b"x", "": "y"}) == bytes.fromhex("a36061796162016261614178")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "the data ends early|"),
        ("a1", "the data ends early|"),
        ("a161", "the data ends early|"),
        ("a16161", "the data ends early|"),
        ("a161614261", "the data ends early|"),
        ("a1616119ff", "the data ends early|"),
        ("a161615bffffffffffffffff", "the data ends early|"),
        ("a161610000", "1 bytes too many"),
        ("a0a0a0", "2 bytes too many"),
        ("00", "a number where a map belongs"),
        ("8100", "a list where a map belongs"),
        ("a1000000", "a number where a text belongs"),
        ("a1416100", "bytes where a text belongs"),
        ("a1616120", "a negative number where a number or bytes or a text belongs"),
        ("a1616180", "a list where"),
        ("a16161a0", "a map where"),
        ("a16161c100", "a tag where"),
        ("a16161f4", "a float or a simple value where"),
        ("a16161f6", "a float or a simple value where"),
        ("a16161f90000", "a float or a simple value where"),
        ("a161611c", "an indefinite length|"),
        ("a161611f", "an indefinite length|"),
        ("bf616100ff", "an indefinite length|"),
        ("a161615f4100ff", "an indefinite length|"),
        ("a161617f6100ff", "an indefinite length|"),
        ("b801616100", "a number or length that is not in its shortest form|"),
        ("a178016100", "a number or length that is not in its shortest form|"),
        ("a161611817", "a number or length that is not in its shortest form|"),
        ("a161611900ff", "a number or length that is not in its shortest form|"),
        ("a161611a0000ffff", "a number or length that is not in its shortest form|"),
        ("a161611b00000000ffffffff", "a number or length that is not in its shortest form|"),
        ("a16161580100", "a number or length that is not in its shortest form|"),
        ("a2616200616100", "a key out of order, or twice|"),
        ("a262616100616200", "a key out of order, or twice|"),
        ("a2616100616101", "a key out of order, or twice|"),
        ("a161ff00", "a text that is not UTF-8|"),
        ("a1616163eda080", "a text that is not UTF-8|"),
        ("a1616162c080", "a text that is not UTF-8|"),
        ("b821", "more than 32 fields"),
        ("bbffffffffffffffff", "more than 32 fields"),
    ],
)
def test_anything_but_the_canonical_form_is_refused(data: str, reason: str) -> None:
    with pytest.raises(BadCbor) as refused:
        decode(bytes.fromhex(data))
    assert f"{refused.value}|".startswith(reason)


def test_the_largest_map_is_read() -> None:
    fields = {f"{number:02}": number for number in range(MAX_FIELDS)}
    assert decode(encode(fields)) == fields
    with pytest.raises(BadCbor):
        decode(encode({**fields, "more": 1}))
