"""Downloads of a release from gateways, beside curl, which verifies nothing.

Our command gets the manifest from a web server that has nothing else, and all artifacts from the
gateway. Its start and its verification count, and its bytes are durable when it ends, as curl's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from image.bench import clients
from image.bench.clients import Timing
from image.bench.fetch import scratch
from image.bench.results import Bench, Row, Threshold
from image.bench.wan_places import (
    PROVIDER_PORT,
    SHAPE,
    BenchNode,
    Imported,
    far,
    imported,
    manifest_folder,
    near,
    start_kubo,
)
from image.lab.netns import Host
from image.lab.network import Lab
from image.lab.provider_process import PROGRAM, start_provider
from phase_boot.store.layout import entry_path

RATE: Final = "MB/s"
Thresholds = Mapping[str, Threshold | None]
"""What curl downloads, and the bound of our rate divided by curl's."""
QUERIES: Final = {"file": "", "CAR": "?format=car"}
COLD_MIB: Final = 16
"""curl gets less than 1 MB/s from a cold gateway."""
SMALL: Final = 46
LARGE: Final = 512
WARM_FILE: Final = Threshold(0.65, of_peer=True, least=True)
WARM_CAR: Final = Threshold(1.0, of_peer=True, least=True)
SLOW: Final = Threshold(0.95, of_peer=True, least=True)
COLD: Final = Threshold(4.0, of_peer=True, least=True)
BLOCKS: Final = 256
"""Raw blocks of one run."""
AT_ONCE: Final = 32
_ASKS_CONNECTED: Final = {"Internal.Bitswap.BroadcastControl.Enable": False}
"""A gateway asks the peers that it is connected with, so finding the provider costs nothing."""
_MANIFEST_HOST: Final = 0
"""The number of the host that has the manifest."""


@dataclass(frozen=True, slots=True)
class Run:
    """A gateway in a lab, what is downloaded from it, and a folder for what a download writes."""

    lab: Lab
    gateway: BenchNode
    item: Imported
    folder: Path


def warm(about: Bench, runs: int) -> Iterator[Row]:
    """Download from a gateway that holds the release, without a limit of the link."""
    for mib, car in ((SMALL, None), (LARGE, WARM_CAR)):
        with Lab(dhcp=False) as lab, scratch() as folder:
            run = _held(lab, mib, folder, is_far=False)
            thresholds = {"file": WARM_FILE if car else None, "CAR": car}
            yield from _beside_curl(about, runs, f"{mib} MiB from a warm gateway", run, thresholds)


def slow(about: Bench, runs: int) -> Iterator[Row]:
    """Download from a gateway that holds the release, over a link with delay."""
    for mib in (SMALL, LARGE):
        with Lab(dhcp=False) as lab, scratch() as folder:
            run = _held(lab, mib, folder, is_far=True)
            name = f"{mib} MiB from a warm gateway, {SHAPE}"
            yield from _beside_curl(about, runs, name, run, {"file": SLOW, "CAR": SLOW})


def cold(about: Bench, runs: int) -> Iterator[Row]:
    """Download from a near gateway that has to fetch the release from a far node."""
    with Lab(dhcp=False) as lab, scratch() as folder:
        held = _held(lab, COLD_MIB, folder, is_far=True)
        gateway = start_kubo(near(lab), folder / "cold", _ASKS_CONNECTED)
        gateway.connect(held.gateway)
        name = f"{COLD_MIB} MiB from a cold gateway, its provider at {SHAPE}"
        run = replace(held, gateway=gateway)
        yield from _beside_curl(about, runs, name, run, {"file": COLD})


def ours_and_kubo(about: Bench, runs: int) -> Iterator[Row]:
    """Download a CAR, and raw blocks, from `phase-boot serve` and from kubo by curl."""
    with Lab(dhcp=False) as lab, scratch() as folder:
        held = _held(lab, LARGE, folder, is_far=False)
        node, item = held.gateway, held.item
        provider = start_provider(lab, item.release.site, port=PROVIDER_PORT)
        bases = {"ours": provider.urls[0], "kubo": node.url}
        cids = node.ipfs("refs", "--recursive", "--unique", item.rootfs).split()
        blocks = [cid for cid in cids if cid.startswith("bafkrei")][:BLOCKS]
        out = folder / "out"
        car: dict[str, list[float]] = {name: [] for name in bases}
        raw: dict[str, list[float]] = {name: [] for name in bases}
        for _ in range(runs):
            for name, base in bases.items():
                took = clients.curl(lab, f"{base}/ipfs/{item.rootfs}?format=car", out)
                car[name].append(out.stat().st_size / took.seconds / 1e6)
                took, size = _raw_blocks(lab, base, blocks, folder)
                raw[name].append(size / took.seconds / 1e6)
        for name, found in ((f"CAR of {LARGE} MiB", car), (f"raw blocks, {AT_ONCE} at once", raw)):
            row = about.row(f"`phase-boot serve`: {name}", RATE, found["ours"])
            yield about.compare(row, "kubo", found["kubo"])
        provider.stop()


def _held(lab: Lab, mib: int, folder: Path, *, is_far: bool) -> Run:
    """Return a gateway that holds the release."""
    item = imported(mib)
    node = start_kubo(far(lab) if is_far else near(lab), folder / "kubo")
    node.import_cars(item.cars)
    return Run(lab, node, item, folder)


def _beside_curl(
    about: Bench, runs: int, name: str, run: Run, thresholds: Thresholds
) -> Iterator[Row]:
    """Yield our rate compared with that of each of curl's downloads.

    Before each download the gateway forgets what it does not hold itself.
    """
    release = run.item.release
    host = Host(run.lab, _MANIFEST_HOST)
    host.start_nginx(manifest_folder(release, run.folder / "manifest"))
    rates: dict[str, list[float]] = {"ours": [], **{kind: [] for kind in thresholds}}
    for _ in range(runs):
        run.gateway.forget()
        seconds = _fetch(run, release.manifest_at(host.base))
        rates["ours"].append(release.size / seconds / 1e6)
        for kind in thresholds:
            run.gateway.forget()
            out = run.folder / "out"
            url = f"{run.gateway.url}/ipfs/{run.item.rootfs}{QUERIES[kind]}"
            seconds = _curl(run.lab, url, out)
            rates[kind].append(out.stat().st_size / seconds / 1e6)
            out.unlink()
    for kind, threshold in thresholds.items():
        row = about.row(f"{name}, beside curl's {kind}", RATE, rates["ours"])
        yield about.compare(row, f"curl, {kind}", rates[kind], threshold=threshold)


def _fetch(run: Run, manifest: str) -> float:
    """Download by `phase-boot fetch` from the gateway into an empty store; return the seconds."""
    release, store = run.item.release, run.folder / "store"
    options = ("--store", str(store), "--key", release.keyid, "--gateway", run.gateway.url)
    took = clients.timed(run.lab, [str(PROGRAM), "fetch", manifest, *options])
    clients.check_sha256(store / entry_path(release.rootfs.digest), release.rootfs.digest)
    shutil.rmtree(store)
    return took.seconds


def _curl(lab: Lab, url: str, out: Path) -> float:
    """Download by curl, which resumes where a gateway ends early; return the seconds."""
    script = """
    for attempt in 1 2 3 4 5 6 7 8; do
        curl -sf -C - -o "$1" "$2" && exec sync "$1"
    done
    exit 1
    """
    return clients.timed(lab, ["sh", "-c", script, "sh", str(out), url]).seconds


def _raw_blocks(lab: Lab, base: str, cids: Sequence[str], folder: Path) -> tuple[Timing, int]:
    """Download raw blocks by one curl, and return its time and the bytes."""
    blocks = folder / "blocks"
    shutil.rmtree(blocks, ignore_errors=True)
    blocks.mkdir()
    lines = [f'url = "{base}/ipfs/{cid}?format=raw"\noutput = "{blocks / cid}"\n' for cid in cids]
    listing = folder / "blocks.curl"
    listing.write_text("".join(lines))
    options = ("--parallel", "--parallel-max", str(AT_ONCE), "--config", str(listing))
    took = clients.timed(lab, ["curl", "-sf", *options])
    return took, sum(path.stat().st_size for path in blocks.iterdir())
