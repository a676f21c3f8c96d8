"""Print every snapshot of the links: `python -m tests.support.link_watcher SECONDS`."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing, suppress

from phase_boot.adapters.net.address_watch import AddressWatch


async def watch(seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), aclosing(AddressWatch().changes()) as snapshots:
            async for links in snapshots:
                say({link.interface: link.addresses for link in links})


def say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(watch(float(sys.argv[1])))
