"""Where artifacts are downloaded from."""

from __future__ import annotations

from dataclasses import dataclass, field

from phase_boot.download.source_discovery import SourceDiscovery
from phase_boot.download.tracker_client import TrackerClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources of a download.

    Attributes:
        mirrors: base URLs of mirrors and providers, the preferred first.
        gateways: base URLs of trustless gateways, which serve blocks and no files.
        discovery: finds further mirrors while artifacts are downloaded.
        tracker: shares chunks with peers that download the same; None shares with none.
    """

    mirrors: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    discovery: SourceDiscovery = field(default_factory=SourceDiscovery)
    tracker: TrackerClient | None = None

    async def open(self) -> None:
        """Prepare for a run of downloads: withdraw what an earlier run still shares."""
        if self.tracker is not None:
            await self.tracker.open()

    async def close(self) -> None:
        """Stop discovery, and tell trackers that this machine stops downloading."""
        await self.discovery.close()
        if self.tracker is not None:
            await self.tracker.close()
