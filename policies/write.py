"""Writes a site's policies from the shipped ones, with comments: the only importer of tomlkit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import tomlkit
from tomlkit.items import Table

from phase_boot.trust.root import Root
from policies.model import Mode, PolicyError, Shell
from policies.read import parse_policy, read_file

SHIPPED: Final = Path(__file__).parent
ROOT_NAME: Final = "root.json"
"""Name of the root's file beside a policy."""


@dataclass(frozen=True, slots=True)
class StaticKeys:
    """A fixed set of publishers' keys, and the threshold of signatures."""

    keys: tuple[str, ...]
    threshold: int = 1

    def read(self, name: str) -> bytes:
        """Raise ValueError: fixed keys have no file."""
        raise ValueError(f"{name!r} is not there")


@dataclass(frozen=True, slots=True)
class RootFile:
    """A root's file, and its name in the policy."""

    content: bytes
    name: str = ROOT_NAME

    @classmethod
    def at(cls, path: Path, name: str = ROOT_NAME) -> Self:
        """Return the root in the file ``path``; raise ValueError if it cannot be read."""
        return cls(read_file(path), name)

    def read(self, name: str) -> bytes:
        """Return the file as a policy reads it; raise ValueError for another one."""
        if name != self.name:
            raise ValueError(f"{name!r} is not there")
        return self.content


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceUrls:
    """Configured sources: URLs of manifests, base URLs of delegated routers and of gateways.

    ``public`` is whether Internet mode keeps the public servers of its shipped policy.
    ``bootstrap`` holds multiaddrs of peers of a DHT.
    """

    urls: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    public: bool = True
    bootstrap: tuple[str, ...] = ()


NO_SOURCES: Final = SourceUrls()
SHIPPED_SHELL: Final = Shell(root=False, unattended=True)


def trust_from_options(
    keys: Sequence[str] | None, threshold: int | None, root: Path | None, name: str | None = None
) -> StaticKeys | RootFile:
    """Return the trust that command line options name: a root, or keys with a threshold.

    The policy names the root ``name``, or its absolute path without one.

    Raises:
        ValueError: the root cannot be read, or keys or a threshold were given besides it.
    """
    if root is None:
        return StaticKeys(tuple(keys or ()), 1 if threshold is None else threshold)
    if keys or threshold is not None:
        raise ValueError(
            "a root names its publishers and their threshold; omit the keys and --threshold"
        )
    return RootFile.at(root, name or str(root.absolute()))


def render_policy(
    mode: Mode,
    *,
    trust: StaticKeys | RootFile,
    channel: str,
    sources: SourceUrls = NO_SOURCES,
    shell: Shell = SHIPPED_SHELL,
) -> str:
    """Return the shipped policy of ``mode`` as TOML, with a site's settings.

    The settings are its trust, its sources and its Seed Shell.

    Raises:
        PolicyError: a boot would refuse the result, or the root does not delegate the channel.
    """
    document = tomlkit.parse((SHIPPED / f"{mode}.toml").read_text())
    document["channel"] = channel
    document["discovery"]["urls"] = list(sources.urls)
    document["discovery"]["routers"] = list(sources.routers)
    document["discovery"]["gateways"] = list(sources.gateways)
    if not sources.public:
        document.pop("public", None)
    document["discovery"]["bootstrap"] = list(sources.bootstrap)
    document["shell"]["root"] = shell.root
    document["shell"]["unattended"] = shell.unattended
    if isinstance(trust, StaticKeys):
        document["trust"]["keys"] = list(trust.keys)
        document["trust"]["threshold"] = trust.threshold
    else:
        document["trust"] = _trust_in(trust.name)
    text = tomlkit.dumps(document)
    root = parse_policy(text.encode(), read=trust.read).trust
    if isinstance(root, Root) and channel not in root.channels:
        named = ", ".join(sorted(root.channels))
        raise PolicyError(
            f"trust.root: root {root.version} names no publisher of {channel}, only of {named}"
        )
    return text


def _trust_in(name: str) -> Table:
    value = tomlkit.item(name)
    value.comment("the file of a root that names the publishers; newer ones follow from it")
    table = tomlkit.table()
    table.add("root", value)
    table.add(tomlkit.nl())
    return table
