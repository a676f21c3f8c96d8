from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.trust.document import MAX_BYTES, MAX_DEPTH, read_document
from phase_boot.trust.refusals import (
    BadText,
    DuplicateKey,
    NotANumber,
    NotJson,
    Refusal,
    TooDeep,
    TooLarge,
)


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
def test_what_json_wrote_is_read_back(tree: dict[str, object], ascii_only: bool) -> None:  # noqa: FBT001 - from the strategy
    raw = json.dumps(tree, ensure_ascii=ascii_only).encode()
    try:
        assert read_document(raw) == tree
    except TooDeep:
        assert raw.count(b"[") + raw.count(b"{") > MAX_DEPTH


@given(st.binary(max_size=200) | st.text('{}[]":,\\01eE.-naNu', max_size=60).map(str.encode))
def test_garbage_is_refused_or_read_as_everybody_reads_it(raw: bytes) -> None:
    try:
        document = read_document(raw)
    except Refusal:
        return
    assert json.loads(raw) == document
