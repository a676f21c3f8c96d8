"""Attacks by a writer of policy files on the stick."""

from __future__ import annotations

import pytest

from policies.model import PolicyError
from policies.read import MAX_BYTES, MAX_DOTS, parse_policy


def no_file(name: str) -> bytes:
    raise ValueError(f"{name} is not there")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b".".join([b"a"] * (MAX_BYTES // 2)) + b" = 1", "dots", id="a long key"),
        pytest.param(b"[" + b".".join([b"a"] * 9000) + b"]", "dots", id="a long header"),
        pytest.param(b" . ".join([b'"a"'] * 9000) + b" = 1", "dots", id="a long quoted key"),
        pytest.param(b"a = " + b"[" * 60_000, "no TOML", id="arrays in arrays"),
        pytest.param(b"a = " + b"{a = " * 12_000, "no TOML", id="tables in tables"),
        pytest.param(b"a = " + b"9" * 60_000, "no TOML", id="a number of many digits"),
        pytest.param(b"a = 2025-13-45", "no TOML", id="a date that is none"),
        pytest.param(b"\xff\xfe", "no TOML", id="not UTF-8"),
    ],
)
def test_input_that_would_take_the_parser_long_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        parse_policy(raw, read=no_file)


def test_the_longest_key_is_refused_for_its_content() -> None:
    raw = b".".join([b"a"] * (MAX_DOTS + 1)) + b" = 1"
    with pytest.raises(PolicyError, match="missing"):
        parse_policy(raw, read=no_file)
