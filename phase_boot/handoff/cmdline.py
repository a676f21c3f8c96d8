"""Parses kernel command lines by the kernel's own grammar, and builds the target's.

The grammar is that of `next_arg` (Linux, lib/cmdline.c), `parse_args` (kernel/params.c) and
`start_kernel` (init/main.c):

- blanks separate words, except between double quotes; nothing escapes a quote;
- quotes around a whole word or a whole value are not part of it;
- a word `--` ends the kernel's parameters: what follows are arguments of init;
- `-` and `_` are the same character in a name;
- of a repeated parameter each handler sees every value in turn, so for a switch the last counts.

The hand-over's words come first, where no quote and no `--` of the signed line precedes them.
Signed words that contradict them are left out. No other module edits a command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from phase_boot.handoff.unwiped import KEEPS_MEMORY, RAW, SETS_WIPING
from policies.model import Mode

MAX_LENGTH: Final = 2046
"""Characters of a whole command line.

`COMMAND_LINE_SIZE` is 2,048 bytes on amd64 and on arm64, with the terminating zero. The amd64
kernel announces 2,047 in its header, and `kexec_file_load` counts the zero against that.
"""
MAX_READ: Final = 8192
"""Bytes read of `/proc/cmdline`, at most."""
WIPES_MEMORY: Final = "init_on_free=1"
"""Linux then zeroes every free page of RAM while it starts, and every page that is freed later."""
PREFIX: Final = "phase."
"""Parameters with this prefix are the hand-over's; a signed one is left out."""
OWN: Final = frozenset({"phase.mode", "phase.version", "phase.rootfs"})
MAX_SHOWN: Final = 64
"""Characters of a word that a message shows."""

_BLANKS: Final = " \t\n\v\f\r\xa0"
"""The characters that the kernel's `isspace` accepts."""
_BLANK: Final = re.compile(f"[{_BLANKS}]+")
_QUOTING: Final = str.maketrans("", "", "\"'\\")
"""Removes the characters that a shell or systemd treats as quotes."""


class BadCommandLine(ValueError):
    """The signed command line cannot be used; ``str`` is the cause and the way out."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command line.

    Attributes:
        text: the characters of the line, with quotes.
        name: the text before the first `=`, without quotes around the word.
        value: the text after it, without quotes around the value; None without a `=`.
    """

    text: str
    name: str
    value: str | None

    @property
    def key(self) -> str:
        """The name as the kernel compares it."""
        return self.name.replace("-", "_")

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= MAX_SHOWN else f"{self.text[: MAX_SHOWN - 3]}..."
        return f"`{shown}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """A command line as the kernel reads it.

    Attributes:
        parameters: the kernel's own words, in order.
        separator: the word that ends them, if any.
        arguments: the words after it, for init.
        open_quote: whether a quote is not closed, so that the last word runs to the end.
    """

    parameters: tuple[Word, ...]
    separator: Word | None = None
    arguments: tuple[Word, ...] = field(default=())
    open_quote: bool = False

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, in order."""
        middle = (self.separator,) if self.separator else ()
        return (*self.parameters, *middle, *self.arguments)


def parse(text: str) -> CommandLine:
    """Return ``text`` as the kernel parses it; every text is a valid command line."""
    words, quotes = list(_words(text)), text.count('"')
    ends = (at for at, word in enumerate(words) if word.name == "--" and word.value is None)
    end = next(ends, None)
    if end is None:
        return CommandLine(parameters=tuple(words), open_quote=quotes % 2 == 1)
    return CommandLine(
        parameters=tuple(words[:end]),
        separator=words[end],
        arguments=tuple(words[end + 1 :]),
        open_quote=quotes % 2 == 1,
    )


def for_target(signed: str, *, mode: str, version: str, rootfs: str) -> str:
    """Return the target's command line: the hand-over's words, then the signed words.

    Signed words that contradict the hand-over are left out. In Private `init_on_free=1`
    makes the kernel wipe free memory while it starts, because the seed's data (a URL, a
    passphrase, the journal) must not outlive the seed; it needs Linux 5.3 or later.

    Args:
        signed: the publisher's command line.
        mode: the mode that was booted.
        version: the manifest's version.
        rootfs: the digest of the rootfs artifact.

    Raises:
        BadCommandLine: it is too long, or in Private a word of it prevents the wiping of memory.
    """
    private, line = mode == Mode.PRIVATE, parse(signed)
    if private and (word := parameter_against_wiping(signed)):
        raise BadCommandLine(
            f"its command line has {word}, which keeps memory from being wiped: boot a version "
            "without that word, or another mode than Private"
        )
    left_out = set(overridden(line, private=private))
    own = (
        *((WIPES_MEMORY,) if private else ()),
        f"phase.mode={mode}",
        f"phase.version={version}",
        f"phase.rootfs={rootfs}",
    )
    text = " ".join([*own, *(word.text for word in line.words if word not in left_out)])
    if len(text) > MAX_LENGTH:
        raise BadCommandLine(
            f"its command line has {len(text)} characters with what the hand-over adds, and a "
            f"kernel takes {MAX_LENGTH}: boot a version with a shorter one"
        )
    return text


def overridden(line: CommandLine, *, private: bool) -> Iterator[Word]:
    """Yield the words of a signed ``line`` that the hand-over leaves out.

    These are the parameters that it sets itself, and words in which a shell or systemd, which
    divide a command line by rules of their own, would read one of those.
    """
    for word in line.words:
        hidden = any(name in OWN for name in _names_anywhere(word.text))
        if hidden or word.key.startswith(PREFIX) or (private and word.key in SETS_WIPING):
            yield word


def parameter_against_wiping(signed: str) -> str | None:
    """Return the first word of ``signed`` that prevents the wiping of memory, or None.

    Words between quotes and after `--` count as well: parts of the kernel search the line without
    regard to either (`crashkernel=` is even found inside other words).
    """
    line = parse(signed)
    for word in line.words:
        pieces = [_word(piece) for piece in _BLANK.split(word.text.replace('"', " ")) if piece]
        for read in (word, *pieces):
            keeps = KEEPS_MEMORY.get(read.key)
            if keeps is not None and keeps(read.value):
                return str(read)
    return next((f"`{name}`" for name in RAW if name in signed), None)


def _names_anywhere(text: str) -> Iterator[str]:
    """Yield each part of ``text`` that some parser may read as a parameter's name."""
    for divided in (text.translate(_QUOTING), re.sub(r"[\"'\\]", " ", text)):
        for piece in _BLANK.split(divided):
            yield piece.partition("=")[0].replace("-", "_")


def _words(text: str) -> Iterator[Word]:
    """Yield the words of ``text``, as repeated calls of `next_arg` do."""
    at = 0
    while (at := _after_blanks(text, at)) < len(text):
        end = _end_of_word(text, at)
        yield _word(text[at:end])
        at = end


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANKS:
        at += 1
    return at


def _end_of_word(text: str, at: int) -> int:
    quoted = False
    while at < len(text) and (quoted or text[at] not in _BLANKS):
        quoted ^= text[at] == '"'
        at += 1
    return at


def _word(text: str) -> Word:
    """Return the one word ``text``, without the quotes that `next_arg` removes."""
    quoted = text.startswith('"')
    inner = text[1:] if quoted else text
    # A `=` at the very beginning separates nothing.
    equals = inner.find("=", 1)
    name, value = (inner, None) if equals < 0 else (inner[:equals], inner[equals + 1 :])
    last = inner.endswith('"')
    if value is None:
        return Word(text, name[:-1] if quoted and last else name, None)
    if value.startswith('"'):
        value = value[1:].removesuffix('"')
    elif quoted:
        value = value.removesuffix('"')
    return Word(text, name, value)
