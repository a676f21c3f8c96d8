"""Services of a provider beyond its files and blocks."""

from __future__ import annotations

from dataclasses import dataclass

from phase_boot.provider.gateway.http_provider import HttpProvider
from phase_boot.provider.gateway.upstream_records import UpstreamRecords
from phase_boot.provider.receipt_store import ReceiptStore
from phase_boot.provider.swarm.tracker import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Optional services; the path of one that is None is not answered."""

    receipts: ReceiptStore | None = None
    """Stores the receipts that booted machines post."""
    tracker: Tracker | None = None
    """Answers the announcements of peers."""
    upstream: UpstreamRecords | None = None
    """Asks routers for newer records than the provider's own ones."""
    public_provider: HttpProvider | None = None
    """This provider at its public URL, which the delegated router names."""
