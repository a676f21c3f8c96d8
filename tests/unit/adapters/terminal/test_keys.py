"""Decoding keys from arbitrary input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase_boot.adapters.terminal.keys import LONGEST, Decoder, Key


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ("aZ9 ~", ["a", "Z", "9", " ", "~"]),
        ("\r\n", [Key.ENTER, Key.ENTER]),
        ("\x7f\b", [Key.BACKSPACE, Key.BACKSPACE]),
        ("\x03\x04\x15", [Key.WITHDRAW, Key.WITHDRAW, Key.CLEAR]),
        ("\x1b[D\x1bOC\x1b[3~\x1b[H\x1b[4~", [Key.LEFT, Key.RIGHT, Key.DELETE, Key.HOME, Key.END]),
        ("\x1b[200~a\x1b[201~", ["a"]),
        ("\x1b[<0;1;1Mx\x1b[24;80Ry", ["x", "y"]),
        ("\x1bx\x1b\x1b[Da", [Key.LEFT, "a"]),
        ("\x1b[1;\rb", [Key.ENTER, "b"]),
        ("\x1b[" + "1" * 14 + "ab", ["a", "b"]),
        ("\u20ac\xff\x00\x1a\x9b31mz", ["3", "1", "m", "z"]),
    ],
)
def test_an_escape_sequence_is_a_known_key_or_ignored(typed: str, keys: list[Key | str]) -> None:
    assert list(Decoder().feed(typed)) == keys


@given(st.text(), st.integers(0, 20))
def test_any_input_yields_keys_or_characters_and_enter_is_always_read(noise: str, at: int) -> None:
    decoder = Decoder()
    keys = [*decoder.feed(noise[:at]), *decoder.feed(noise[at:])]
    assert all(isinstance(key, Key) or (len(key) == 1 and " " <= key <= "~") for key in keys)
    assert keys == list(Decoder().feed(noise))
    assert list(decoder.feed("\r")) == [Key.ENTER]


@given(st.text(alphabet="\x1b[O0123456789;<?", min_size=LONGEST))
def test_no_sequence_is_held_back_for_long(noise: str) -> None:
    decoder = Decoder()
    list(decoder.feed(noise))
    assert list(decoder.feed("m" * LONGEST))[-1:] == ["m"]
