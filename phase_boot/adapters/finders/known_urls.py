"""Finders that search no network: configured URLs, and the newest verified manifest."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from phase_boot.ports.finder import Candidate, DiscoveryQuery


class UrlFinder:
    """Yields the URLs of the policy and of the kernel command line, and a typed one."""

    kind = "url"

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        """Yield the URLs in order."""
        for url in query.urls:
            yield Candidate(url=url, finder=self.kind)


class CachedManifestFinder:
    """Yields the newest manifest that was verified here, from which Local boots without a network.

    The manifest is verified again: it may have expired, or a newer root may revoke its signer.
    """

    kind = "cache"

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate, None]:
        """Yield the newest verified manifest, if there is one."""
        if query.newest_manifest is not None:
            url = f"cache:{query.channel}/{query.arch}"
            yield Candidate(url=url, finder=self.kind, document=query.newest_manifest)
