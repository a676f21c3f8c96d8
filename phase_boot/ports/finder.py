"""Ways of finding out where a signed manifest may be. All of them are hearsay."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from phase_boot.content.arch import Arch
from phase_boot.url import BadUrl, Url


class FinderFailed(Exception):
    """This way of finding is out of order; the others are still to be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryQuery:
    """What is looked for."""

    arch: Arch
    channel: str
    seconds: float
    """How long to look."""
    urls: tuple[str, ...]
    """Manifest URLs that the policy or a person named."""
    newest_manifest: bytes | None = None
    """The newest manifest that this machine remembers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A place that may hold a manifest; nothing in it is believed."""

    url: str
    """Where `manifest.json` may be fetched."""
    origin: str
    """Which finder says so: `lan`, `url` or `cache`."""
    document: bytes | None = None
    """The manifest itself, where the finder has it already."""
    service_name: str = ""
    """Name of the announced service, by which its several addresses count as one source."""

    def base(self, arch: Arch, channel: str) -> str | None:
        """Return the root of the mirror layout, or None if the URL does not follow it."""
        try:
            base = Url.parse(self.url).base(f"{channel}/{arch}/manifest.json")
        except BadUrl:
            return None
        return None if base is None else str(base)


def server_of(url: str) -> str:
    """Return who answers for ``url``: its origin; of a text that is no URL, the text."""
    try:
        return Url.parse(url).origin
    except BadUrl:
        return url


def host_of(url: str) -> str:
    """Return the machine that ``url`` names, whatever the port; nothing if it is no URL."""
    try:
        return Url.parse(url).host
    except BadUrl:
        return ""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A finder passed over some of what it was told; it says so once per reason."""

    reason: str


class Finder(Protocol):
    """One way of finding candidates."""

    @property
    def origin(self) -> str:
        """The name of this way, as the policy's `discovery.order` spells it."""

    def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield candidates as they turn up, for at most `query.seconds`, and reasons of neglect.

        Raises:
            FinderFailed: it cannot look at all.
        """
