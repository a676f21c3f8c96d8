"""`phase-boot fetch` against servers in memory: its network worker answers from a `FakeFetcher`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, cast

from phase_boot.app.prefetch import prefetch
from phase_boot.app.prefetch_plan import PrefetchRequest
from phase_boot.drill.fake_servers import FakeFetcher
from phase_boot.privsep.worker import NetworkWorker

FAR: Final = "9000-01-01T00:00:00Z"
"""An expiry that no clock has reached."""
MANIFEST: Final = "stable/amd64/manifest.json"


class FakeWorker:
    """A network worker whose servers are in memory."""

    def __init__(self, fetcher: FakeFetcher) -> None:
        self._fetcher = fetcher

    def client(self) -> FakeFetcher:
        return self._fetcher


def run_prefetch(
    folder: Path, fetcher: FakeFetcher, url: str, **options: Any
) -> tuple[int, list[dict[str, Any]]]:
    """Run the command with a store in ``folder``; return its exit status and its events."""
    journal = folder / "journal.jsonl"
    journal.unlink(missing_ok=True)
    request = PrefetchRequest(url=url, store=folder / "store", journal=journal, **options)
    status = prefetch(request, cast("NetworkWorker", FakeWorker(fetcher)))
    return status, [json.loads(line) for line in journal.read_text().splitlines()]


def refusals(events: list[dict[str, Any]]) -> list[str]:
    """Return the codes of the refused manifests, in order."""
    return [event["code"] for event in events if event["event"] == "candidate.refused"]
