"""`python -m image.bench.record_probe WHERE URL NAME RUNS`: seconds until a record is verified.

WHERE is `router` or `gateway`. Each run has new connections. Prints a JSON list.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime

from phase_boot.adapters.finders.ipns_http import RecordFinder
from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.content.arch import Arch
from phase_boot.ports.finder import Candidate, DiscoveryQuery, RecordQuery
from phase_boot.trust.ipns_name import IpnsName
from policies.model import Reach

SECONDS = 10.0


async def measure(where: str, url: str, name: IpnsName) -> float:
    """Return the seconds until the finder names the place of the record at ``url``.

    Raises:
        RuntimeError: it names none.
    """
    query = DiscoveryQuery(
        arch=Arch.AMD64,
        channel="stable",
        seconds=SECONDS,
        urls=(),
        records=RecordQuery(
            names=(name,),
            routers=(url,) if where == "router" else (),
            gateways=(url,) if where == "gateway" else (),
            now=datetime.now(UTC),
            reach=Reach.INTERNET,
            redirects=0,
        ),
    )
    http = HttpFetcher()
    try:
        started = time.monotonic()
        async for found in RecordFinder(http).find(query):
            if isinstance(found, Candidate):
                return time.monotonic() - started
            raise RuntimeError(f"no record: {found}")
    finally:
        await http.close()
    raise RuntimeError("no record")


async def measure_all(where: str, url: str, name: IpnsName, runs: int) -> list[float]:
    """Return the seconds of each run."""
    return [await measure(where, url, name) for _ in range(runs)]


if __name__ == "__main__":
    found = measure_all(sys.argv[1], sys.argv[2], IpnsName.parse(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps(asyncio.run(found)))
