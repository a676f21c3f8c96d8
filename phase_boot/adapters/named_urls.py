"""Manifest URLs that somebody named: the policy, the kernel command line, a person."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from phase_boot.ports.finder import Candidate, Quest


class NamedUrls:
    """Implements `ports.finder.Finder` without looking anywhere."""

    origin = "url"

    async def find(self, quest: Quest) -> AsyncGenerator[Candidate, None]:
        """Yield the named URLs in order."""
        for url in quest.urls:
            yield Candidate(url=url, origin=self.origin)
