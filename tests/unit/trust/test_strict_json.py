from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.trust.refusals import (
    BadText,
    DuplicateKey,
    NotANumber,
    NotJson,
    Refusal,
    TooDeep,
    TooLarge,
)
from phase_boot.trust.strict_json import MAX_BYTES, MAX_DEPTH, canonical, read_document


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (b"", NotJson),
        (b"[]", NotJson),
        (b'"text"', NotJson),
        (b"{} {}", NotJson),
        (b'{"a": 1', NotJson),
        (b'{"a": 01}', NotJson),
        (b'{"a": "\xff"}', NotJson),
        (b'\xef\xbb\xbf{"a": 1}', NotJson),
        (b'{"a": "line\nfeed"}', NotJson),
        (b'{"a": 1, "a": 1}', DuplicateKey),
        (b'{"a": 1, "\\u0061": 2}', DuplicateKey),
        (b'{"deep": [{"a": 1, "a": 2}]}', DuplicateKey),
        (b'{"a": 1.0}', NotANumber),
        (b'{"a": 1e3}', NotANumber),
        (b'{"a": NaN}', NotANumber),
        (b'{"a": -Infinity}', NotANumber),
        (b'{"a": -0}', NotANumber),
        (b'{"a": 9007199254740992}', NotANumber),
        (b'{"a": ' + b"9" * 5000 + b"}", NotANumber),
        (b'{"a": "e\xcc\x81"}', BadText),
        (b'{"e\xcc\x81": 1}', BadText),
        (b'{"a": ["\\ud800"]}', BadText),
        (b'{"a": "' + b"x" * 4097 + b'"}', BadText),
        (b"[" * 60000, TooDeep),
        (b'{"a":' * 12000, TooDeep),
        (b" " * (MAX_BYTES + 1), TooLarge),
    ],
)
def test_a_document_that_two_readers_could_read_differently_is_refused(
    raw: bytes, refusal: type[Refusal]
) -> None:
    with pytest.raises(refusal):
        read_document(raw)


def test_the_limits_themselves_are_allowed() -> None:
    nested = b'{"a":' * (MAX_DEPTH - 1) + b"{}" + b"}" * (MAX_DEPTH - 1)
    assert read_document(nested)
    assert read_document(b"{}" + b" " * (MAX_BYTES - 2)) == {}
    assert read_document(b'{"a": 9007199254740991, "b": -9007199254740991}')


def test_brackets_within_a_string_are_no_nesting() -> None:
    assert read_document(b'{"a": "' + b'[{\\"' * 100 + b'"}')


_leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text('ab\\"[{é', max_size=9)
)
_tree = st.recursive(
    _leaf,
    lambda sub: (
        st.lists(sub, max_size=3) | st.dictionaries(st.text('ab"', max_size=3), sub, max_size=3)
    ),
)


@given(st.dictionaries(st.text('abc"\\', max_size=3), _tree, max_size=4), st.booleans())
def test_the_output_of_json_is_read_back(tree: dict[str, object], ascii_only: bool) -> None:  # noqa: FBT001 - from the strategy
    raw = json.dumps(tree, ensure_ascii=ascii_only).encode()
    try:
        assert read_document(raw) == tree
    except TooDeep:
        assert raw.count(b"[") + raw.count(b"{") > MAX_DEPTH


@given(st.binary(max_size=200) | st.text('{}[]":,\\01eE.-naNu', max_size=60).map(str.encode))
def test_random_input_is_refused_or_read_as_the_json_module_reads_it(raw: bytes) -> None:
    try:
        document = read_document(raw)
    except Refusal:
        return
    assert json.loads(raw) == document


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b" " * (MAX_BYTES + 1), "is larger than 65536 bytes, so it is not read:"),
        (b"[" * 17, "is nested more than 16 levels deep:"),
        (b'{"a": "\xff"}', "is not a JSON object (not UTF-8):"),
        (b"{'", "is not a JSON object (Expecting property name enclosed in double quotes at ch"),
        (b"[]", "is not a JSON object (no object):"),
        (b'{"a": 1, "a": 1}', "has the name a twice in one object:"),
        (b'{"a": 1.5}', "has the number 1.5, and only"),
        (b'{"a": NaN}', "has the number NaN, and only"),
        (b'{"a": -0}', "has the number -0, and only"),
        (b'{"a": "e\xcc\x81"}', r"has the text e\u0301, which is not in Unicode's NFC form:"),
        (b'{"a": "\\udfff"}', r"has the text \udfff, which is half a surrogate pair:"),
        (b'{"a": "\\ud800 "}', r"has the text \ud800 , which is half a surrogate pair:"),
        (
            b'{"a": "' + b"x" * 4097 + b'"}',
            f"has the text {'x' * 77}..., which is longer than 4096 characters:",
        ),
    ],
)
def test_the_message_about_a_document_names_the_reason(raw: bytes, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_document(raw)
    assert str(refused.value).startswith(f"The document {message}")


def test_given_limits_hold_to_the_byte_and_the_level() -> None:
    raw = b'{"a": [[]]}'
    assert read_document(raw, limit=len(raw), depth=3) == {"a": [[]]}
    with pytest.raises(TooLarge, match=f"larger than {len(raw) - 1} bytes"):
        read_document(raw, limit=len(raw) - 1, depth=3)
    with pytest.raises(TooDeep, match="more than 2 levels"):
        read_document(raw, limit=len(raw), depth=2)


def test_closed_brackets_do_not_count_as_nesting() -> None:
    assert read_document(b'{"a": [' + b"[[]]," * 100 + b"[{}]]}", depth=4)
    with pytest.raises(TooDeep):
        read_document(b'{"a": [' + b"[[]]," * 100 + b"[[{}]]]}", depth=4)


@pytest.mark.parametrize("text", ["x" * 4096, "\u00e9" * 4096, "\ud7ff", "\ue000", "\U0010ffff"])
def test_text_up_to_its_limit_is_read(text: str) -> None:
    raw = json.dumps({"a": [{text: text}]}, ensure_ascii=False).encode()
    assert read_document(raw) == {"a": [{text: text}]}


def test_names_and_values_are_checked_at_every_level() -> None:
    for raw in (
        b'{"a": {"b": {"e\xcc\x81": 1}}}',
        b'{"a": {"b": {"c": "e\xcc\x81"}}}',
        b'{"a": [1, [2, "e\xcc\x81"]]}',
        b'{"a": [1, {"e\xcc\x81": 2}]}',
    ):
        with pytest.raises(BadText):
            read_document(raw)


@pytest.mark.parametrize("number", [0, 1, -1, 10**15, -(10**15), 2**53 - 1, -(2**53) + 1])
def test_a_whole_number_within_its_bounds_is_read(number: int) -> None:
    assert read_document(b'{"a": %d}' % number) == {"a": number}


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**16, -(10**16), 10**17, 10**400])
def test_a_whole_number_out_of_bounds_is_refused(number: int) -> None:
    with pytest.raises(NotANumber):
        read_document(f'{{"a": {number}}}'.encode())


def test_the_canonical_form_is_that_of_rfc_8785() -> None:
    raw = '{"\\u20ac": 1, "a": {"c": null, "b": [true, false, -7]}, "A": "\\u007f/\\u001f\\n"}'
    assert canonical(read_document(raw.encode())) == (
        '{"A":"\x7f/\\u001f\\n","a":{"b":[true,false,-7],"c":null},"\u20ac":1}'.encode()
    )
