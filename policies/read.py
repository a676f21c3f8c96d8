"""Reading policies from files, with the standard library: it is on the way of every boot."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from policies.model import Policy, PolicyError, policy_from

MAX_BYTES: Final = 65_536


def read_policy(path: Path) -> Policy:
    """Return the policy in the file ``path``.

    Raises:
        PolicyError: the file cannot be read, is no TOML, or `policy_from` refuses it.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > MAX_BYTES:
        raise PolicyError(f"{path} is larger than {MAX_BYTES} bytes")
    try:
        table = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} is no TOML: {error}") from error
    try:
        return policy_from(table)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error
