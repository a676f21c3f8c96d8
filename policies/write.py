"""Writing a site's policies from the shipped ones, comments kept: the only importer of tomlkit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import tomlkit

from policies.model import Mode, policy_from

SHIPPED: Final = Path(__file__).parent


def with_site(
    mode: Mode, *, keys: tuple[str, ...], threshold: int, channel: str, urls: tuple[str, ...] = ()
) -> str:
    """Return the shipped policy of ``mode`` as TOML, made for one site: whom it trusts.

    Raises:
        PolicyError: the result would be refused at boot, so it is refused now.
    """
    document = tomlkit.parse((SHIPPED / f"{mode}.toml").read_text())
    document["channel"] = channel
    trust, discovery = document["trust"], document["discovery"]
    trust["keys"], trust["threshold"] = list(keys), threshold
    discovery["urls"] = list(urls)
    policy_from(document.unwrap())
    return tomlkit.dumps(document)
