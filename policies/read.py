"""Reads policies and their root of trust with the standard library only: every boot does it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from policies.model import Policy, PolicyError, policy_from

MAX_BYTES: Final = 65_536
MAX_DOTS: Final = 64
"""Dots in one line, at most: a key of thousands of parts takes tomllib 30 s."""


def read_policy(path: Path) -> Policy:
    """Return the policy in the file ``path``.

    Raises:
        PolicyError: the file cannot be read, or `parse_policy` refuses it.
    """
    try:
        raw = read_file(path)
    except ValueError as error:
        raise PolicyError(str(error)) from error
    try:
        return parse_policy(raw, read=lambda name: read_file(path.parent / name))
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


def parse_policy(raw: bytes, *, read: Callable[[str], bytes]) -> Policy:
    """Return the policy in ``raw``, whose root of trust ``read`` returns by its name.

    Raises:
        PolicyError: it is no TOML, or `policy_from` refuses it.
    """
    if any(line.count(b".") > MAX_DOTS for line in raw.splitlines()):
        raise PolicyError(f"a line has more than {MAX_DOTS} dots; break it, or shorten its key")
    try:
        table = tomllib.loads(raw.decode())
    # A number of too many digits is a plain ValueError, deep nesting a RecursionError.
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"this is no TOML: {error}") from error
    return policy_from(table, read=read)


def read_file(path: Path) -> bytes:
    """Return the content of a small file; raise ValueError if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} is larger than {MAX_BYTES} bytes")
    return content
