"""Run the LAN finder and print every candidate: `python -m tests.support.mdns_finder SECONDS`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import aclosing

from phase_boot.adapters.finders.mdns import MdnsFinder
from phase_boot.content.arch import Arch
from phase_boot.ports.finder import DiscoveryQuery, FinderFailed, Ignored


async def find(seconds: float) -> None:
    mdns = MdnsFinder()
    await mdns.warm()
    began = time.monotonic()
    say({"began": True})
    query = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=seconds, urls=())
    try:
        async with aclosing(mdns.find(query)) as candidates:
            async for candidate in candidates:
                if isinstance(candidate, Ignored):
                    say({"ignored": candidate.reason})
                    continue
                line = {
                    "at": time.monotonic() - began,
                    "url": candidate.url,
                    "who": candidate.service_name,
                }
                say(line)
    except FinderFailed as failure:
        say({"failed": str(failure)})


def say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(find(float(sys.argv[1])))
