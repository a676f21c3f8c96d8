"""Decodes the keys that the line editor uses; drops everything else.

A serial line sends noise, and terminals send sequences unasked. So the decoder buffers a bounded
number of characters, and yields only keys of `Key` and printable ASCII.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Final


class Key(StrEnum):
    """A key without a character."""

    ENTER = auto()
    BACKSPACE = auto()
    DELETE = auto()
    LEFT = auto()
    RIGHT = auto()
    HOME = auto()
    END = auto()
    CLEAR = auto()
    """Ctrl-U: clear the line."""
    WITHDRAW = auto()
    """Ctrl-C or Ctrl-D: cancel."""


CONTROLS: Final[Mapping[str, Key]] = MappingProxyType(
    {
        "\r": Key.ENTER,
        "\n": Key.ENTER,
        "\x7f": Key.BACKSPACE,
        "\b": Key.BACKSPACE,
        "\x01": Key.HOME,
        "\x05": Key.END,
        "\x15": Key.CLEAR,
        "\x03": Key.WITHDRAW,
        "\x04": Key.WITHDRAW,
    }
)
SEQUENCES: Final[Mapping[str, Key]] = MappingProxyType(
    {
        "C": Key.RIGHT,
        "D": Key.LEFT,
        "H": Key.HOME,
        "F": Key.END,
        "1~": Key.HOME,
        "3~": Key.DELETE,
        "4~": Key.END,
        "7~": Key.HOME,
        "8~": Key.END,
    }
)
"""Final parts after ESC [ or ESC O, on a VT100 and its successors."""
ESCAPE: Final = "\x1b"
LONGEST: Final = 16
"""Longest escape sequence in characters; a longer one is dropped."""


class Decoder:
    """The incomplete escape sequence that was read so far."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> Iterator[Key | str]:
        """Yield the keys and the printable ASCII characters in ``text``."""
        for character in text:
            key = self._next(character)
            if key is not None:
                yield key

    def _next(self, character: str) -> Key | str | None:
        if character in CONTROLS:
            # No sequence contains ESC: the sequence before it was cut off.
            self._held = ""
            return CONTROLS[character]
        if character == ESCAPE:
            self._held = ESCAPE
            return None
        if not self._held:
            return character if character.isascii() and character.isprintable() else None
        self._held += character
        return self._end() if self._is_over() else None

    def _is_over(self) -> bool:
        started = self._held[1] in "[O"
        if not started or len(self._held) >= LONGEST:
            return True
        return len(self._held) > len("\x1b[") and self._held[-1] not in "0123456789;<?"

    def _end(self) -> Key | None:
        key, self._held = SEQUENCES.get(self._held[2:]), ""
        return key
