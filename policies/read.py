"""Reading policies from files: the only importer of tomlkit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import tomlkit
from tomlkit.exceptions import TOMLKitError

from policies.model import Mode, Policy, PolicyError, policy_from

MAX_BYTES: Final = 65_536
HERE: Final = Path(__file__).parent


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
        table = tomlkit.parse(text.decode()).unwrap()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} is no TOML: {error}") from error
    try:
        return policy_from(table)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from error


def with_site(
    mode: Mode, *, keys: tuple[str, ...], threshold: int, channel: str, urls: tuple[str, ...] = ()
) -> str:
    """Return the shipped policy of ``mode`` as TOML, made for one site: whom it trusts.

    Raises:
        PolicyError: the result would be refused at boot, so it is refused now.
    """
    document = tomlkit.parse((HERE / f"{mode}.toml").read_text())
    document["channel"] = channel
    trust, discovery = document["trust"], document["discovery"]
    trust["keys"], trust["threshold"] = list(keys), threshold
    discovery["urls"] = list(urls)
    policy_from(document.unwrap())
    return tomlkit.dumps(document)
