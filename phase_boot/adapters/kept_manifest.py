"""The manifest that this machine remembers: what Local boots from with the cable out."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from phase_boot.ports.finder import Candidate, Quest


class KeptManifest:
    """Implements `ports.finder.Finder` without looking anywhere.

    What is kept is verified like any other: it may have expired, or its signer lost the trust.
    """

    origin = "cache"

    async def find(self, quest: Quest) -> AsyncGenerator[Candidate, None]:
        """Yield the newest manifest that was kept, if there is one."""
        if quest.kept is not None:
            url = f"cache:{quest.channel}/{quest.arch}"
            yield Candidate(url=url, origin=self.origin, document=quest.kept)
