"""What being ready for the WAN costs a boot that finds everything on the LAN.

The same dry run of the daemon follows two policies in turns: one that names no server beyond the
LAN, and one that names a router, a gateway and a DHT peer behind the link. Both trust a root that
names an announcing key.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from image.bench import clients
from image.bench.fetch import scratch
from image.bench.results import Bench, Row, Threshold
from image.bench.wan_places import SHAPE, far, start_kubo
from image.lab.netns import Host
from image.lab.network import IPV4, Lab
from image.lab.provider_process import PROGRAM, start_provider
from tests.support.announcing_publisher import Publisher, announcing_publisher

BOOTS: Final = 3
"""Boots of each run, by each policy."""
COST: Final = Threshold(1.02, of_peer=True)
_CLIENT: Final = 0
"""The number of the host that boots."""


def readiness(about: Bench, runs: int) -> Iterator[Row]:
    """Compare a boot from the LAN with and without servers beyond it in the policy."""
    with Lab(dhcp=False) as lab, scratch() as folder:
        node = start_kubo(far(lab), folder / "kubo")
        peer = node.ipfs("id", "-f", "<id>").strip()
        address = f"/ip4/{node.place.address}/tcp/4001/p2p/{peer}"
        publisher = announcing_publisher(folder)
        start_provider(lab, publisher.site)
        client = Host(lab, _CLIENT)
        client.run(["ip", "route", "add", "default", "via", IPV4, "dev", "eth0"])
        servers = ("--router", node.url, "--gateway", node.url, "--bootstrap", address)
        policies = {
            "without": _policy(publisher, folder / "without.toml"),
            "with": _policy(publisher, folder / "with.toml", *servers),
        }
        seconds: dict[str, list[float]] = {name: [] for name in policies}
        for _ in range(runs * BOOTS):
            for name, policy in policies.items():
                seconds[name].append(_boot(lab, client, policy))
        row = about.row(f"boot from the LAN, ready for the WAN at {SHAPE}", "s", seconds["with"])
        yield about.compare(row, "without WAN", seconds["without"], threshold=COST)


def _policy(publisher: Publisher, path: Path, *servers: str) -> Path:
    return publisher.policy(*servers).rename(path)


def _boot(lab: Lab, client: Host, policy: Path) -> float:
    """Return the seconds of a dry run with an empty store."""
    store = policy.parent / "store"
    shutil.rmtree(store, ignore_errors=True)
    words = [str(PROGRAM), "daemon", "--dry-run", "--policy", str(policy), "--store", str(store)]
    return clients.timed(lab, client.command(words)).seconds
