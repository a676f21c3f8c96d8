"""Seconds until the record of an announcing key is found and verified.

By HTTP the finder of a boot asks a kubo gateway behind a link with delay, and curl asks the same
URL. By the DHT a new process for libp2p is started for each look-up, among servers of go-libp2p on
loopback, without faults and with them.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from image.bench.clients import BenchFailed
from image.bench.fetch import scratch
from image.bench.results import Bench, Row, Threshold
from image.bench.wan_places import ROUND_TRIP, far, start_kubo
from image.lab.network import Lab
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.trust.ipns_record import verify_record
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.refusals import Refusal
from tests.support.ipns_records import record
from tests.support.libp2p_process import libp2p_process
from tests.support.swarm import HOSTILE, Behaviour, Swarm, running_swarm

HTTP: Final = Threshold(0.3)
DHT: Final = Threshold(1.5)
FAULTY: Final = Threshold(3.0)
SWARMS: Final = (20, 100)
LOOKUPS: Final = 10
"""Look-ups of each run."""
SECONDS: Final = 10
"""Time for one look-up."""
NAMED: Final = 3
"""Peers from which a look-up starts, of which each is honest."""
NEWEST: Final = 7
"""The sequence number of the record that is looked for; liars have another one."""
_KEY: Final = SigningKey(b"\x77" * 32)
_NAME: Final = IpnsName(_KEY.keyid)


def by_http(about: Bench, runs: int) -> Iterator[Row]:
    """Find the record through the router and the gateway of a far kubo node."""
    with Lab(dhcp=False) as lab, scratch() as folder:
        node = start_kubo(far(lab), folder / "kubo")
        raw = folder / "record"
        raw.write_bytes(_record())
        node.ipfs("routing", "put", "--allow-offline", f"/ipns/{_NAME}", str(raw))
        paths = {
            "router": f"/routing/v1/ipns/{_NAME}",
            "gateway": f"/ipns/{_NAME}?format=ipns-record",
        }
        for where, path in paths.items():
            ours = _probe(lab, where, node.url, runs * LOOKUPS)
            theirs = [_curl(lab, node.url + path) for _ in range(runs * LOOKUPS)]
            name = f"record by HTTP {where}, {ROUND_TRIP} ms"
            yield about.compare(about.row(name, "s", ours, threshold=HTTP), "curl", theirs)


def by_dht(about: Bench, runs: int) -> Iterator[Row]:
    """Find the record in the DHT, by a new process each time."""
    for peers, shares, threshold in (
        *((peers, None, DHT) for peers in SWARMS),
        (SWARMS[-1], HOSTILE, FAULTY),
    ):
        faults = " with faults" if shares else ""
        name = f"record by DHT among {peers} nodes{faults}"
        took = _look_ups(peers, shares, runs * LOOKUPS)
        found = [each for each in took if each is not None]
        yield about.row(f"{name}, from the start of the process", "s", found, threshold=threshold)
        share = [100 * len(found) / len(took)]
        yield about.row(f"{name}, found", "%", share, threshold=Threshold(100, least=True))


def _record(sequence: int = NEWEST) -> bytes:
    return record(_KEY, sequence=sequence, validity=datetime.now(UTC) + timedelta(days=2))


def _probe(lab: Lab, where: str, url: str, runs: int) -> list[float]:
    program = [sys.executable, "-m", "image.bench.record_probe"]
    output = lab.run([*program, where, url, str(_NAME), str(runs)], timeout=120)
    seconds: list[float] = json.loads(output)
    return seconds


def _curl(lab: Lab, url: str) -> float:
    words = ["curl", "-sfo", "/dev/null", "-H", f"Accept: {RECORD_TYPE}", "-w", "%{time_total}"]
    return float(lab.run([*words, url]))


def _look_ups(
    peers: int, shares: Mapping[Behaviour, float] | None, count: int
) -> list[float | None]:
    """Return the seconds of each look-up, or None where it found nothing.

    Each of ten swarms has other keys, so other peers with faults are close to the record.
    """
    took: list[float | None] = []
    for seed in range(LOOKUPS):
        with running_swarm(peers, shares=shares, seed=seed) as swarm:
            swarm.put(str(_NAME), _record())
            swarm.lie(str(_NAME), _record(NEWEST - 1), _record(NEWEST + 1)[:-1])
            took += [_look_up(swarm) for _ in range(count // LOOKUPS)]
    return took


def _look_up(swarm: Swarm) -> float | None:
    """Return the seconds from the start of a process until it found the newest record."""
    bootstrap = [peer.address for peer in swarm.of(Behaviour.HONEST)[:NAMED]]
    started = time.monotonic()
    with libp2p_process() as process:
        process.send(id=1, op="record", name=str(_NAME), bootstrap=bootstrap, seconds=SECONDS)
        while "end" not in (answer := process.receive()):
            if "record" in answer and _is_newest(base64.b64decode(answer["record"])):
                return time.monotonic() - started
    if "error" in answer["end"]:
        raise BenchFailed(f"the process cannot look up a record: {answer['end']['error']}")
    return None


def _is_newest(raw: bytes) -> bool:
    try:
        return verify_record(raw, _NAME, datetime.now(UTC)).sequence == NEWEST
    except Refusal:
        return False
