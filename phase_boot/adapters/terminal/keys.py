"""From what a keyboard sends to the few keys that we know; all else is dropped.

A serial line sends noise, and a terminal of any make sends sequences that nobody asked for. So the
decoder holds a bounded number of characters back, and there is no key that it does not name here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum, auto
from types import MappingProxyType
from typing import Final


class Key(StrEnum):
    """A key that is no character."""

    ENTER = auto()
    BACKSPACE = auto()
    DELETE = auto()
    LEFT = auto()
    RIGHT = auto()
    HOME = auto()
    END = auto()
    CLEAR = auto()
    """Ctrl-U: the line is to be empty."""
    WITHDRAW = auto()
    """Ctrl-C or Ctrl-D: not this."""


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
"""What may follow ESC [ or ESC O, on a VT100 and those after it."""
ESCAPE: Final = "\x1b"
LONGEST: Final = 16
"""Characters of a sequence; one that is longer has ended."""


class Decoder:
    """What was read so far of a sequence that is not over."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> Iterator[Key | str]:
        """Yield the keys and the characters of ASCII in ``text``."""
        for character in text:
            key = self._next(character)
            if key is not None:
                yield key

    def _next(self, character: str) -> Key | str | None:
        if character in CONTROLS:
            # No sequence holds one: what came before it was cut off.
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
