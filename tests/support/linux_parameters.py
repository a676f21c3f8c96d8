"""A model of how Linux reads its command line, byte by byte as lib/cmdline.c does.

It follows `next_arg` with its pointers and zero bytes, independently of
`phase_boot.handoff.cmdline`.
"""

from __future__ import annotations

from collections.abc import Iterator

SPACES = b" \t\n\v\f\r\xa0"
COMMAND_LINE_SIZE = 2048
QUOTE, EQUALS = ord('"'), ord("=")


def next_arg(line: bytearray, args: int) -> tuple[int, int, int | None]:
    """Return where the next word, its parameter and its value begin; zeroes end each."""
    equals, in_quote, quoted = 0, False, False
    if line[args] == QUOTE:
        args += 1
        in_quote = quoted = True
    i = 0
    while line[args + i] and (in_quote or line[args + i] not in SPACES):
        if equals == 0 and line[args + i] == EQUALS:
            equals = i
        if line[args + i] == QUOTE:
            in_quote = not in_quote
        i += 1
    param, val = args, None
    if equals:
        line[args + equals] = 0
        val = args + equals + 1
        if line[val] == QUOTE:
            val += 1
            if line[args + i - 1] == QUOTE:
                line[args + i - 1] = 0
    if quoted and i > 0 and line[args + i - 1] == QUOTE:
        line[args + i - 1] = 0
    if line[args + i]:
        line[args + i] = 0
        following = args + i + 1
    else:
        following = args + i
    return skip_spaces(line, following), param, val


def skip_spaces(line: bytearray, at: int) -> int:
    while line[at] in SPACES:
        at += 1
    return at


def string(line: bytearray, at: int) -> str:
    return line[at : line.index(0, at)].decode("latin-1")


def parse_args(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield the parameters that come before `--`, as (name with `_`, value)."""
    line = bytearray(text.encode("latin-1")[: COMMAND_LINE_SIZE - 1] + b"\0")
    at = skip_spaces(line, 0)
    while line[at]:
        at, param, val = next_arg(line, at)
        name = string(line, param)
        if val is None and name == "--":
            return
        yield name.replace("-", "_"), None if val is None else string(line, val)


def crashkernel(text: str) -> bool:
    """Say whether `get_last_crashkernel` (kernel/crash_reserve.c) finds a reservation."""
    return "crashkernel=" in text


def switched_on(parameters: list[tuple[str, str | None]], name: str) -> bool:
    """Say whether an early switch ends up on: each handler sees every value, by `kstrtobool`."""
    on = False
    for key, value in parameters:
        if key == name and value is not None:
            if value[:1] in {"1", "y", "Y", "t", "T"} or value[:2] in {"on", "On", "oN", "ON"}:
                on = True
            elif value[:1] in {"0", "n", "N", "f", "F"} or value[:2].lower() == "of":
                on = False
    return on
