"""`make bench-fetch`: artifacts over a network of our own, beside curl, aria2c and libtorrent.

All sides take turns on the same places. Each run begins with an empty store and ends when the last
byte is durable; what our own command takes to start counts.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.bench import clients, many_clients, silent_sources
from image.bench.clients import MIB, Took
from image.bench.results import (
    FOLDER,
    Bench,
    Row,
    Threshold,
    host_description,
    merge_rows,
    replace_rows,
    table,
)
from image.lab.netns import Host
from image.lab.network import Lab
from image.lab.provider_process import PROGRAM
from phase_boot.app import edge
from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.publish.keys.keyfile import read_keyfile
from phase_boot.store.layout import ENTRIES, entry_path, manifest_path
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.strict_json import read_document

RESULT: Final = FOLDER / "fetch.json"
WORK: Final = Path("build/bench/fetch")
ARCH: Final = Arch.AMD64
RATE: Final = 100
SLOW: Final = 5
SUM: Final = "of the sum"
ONE_THRESHOLD: Final = Threshold(1.15, of_peer=True)
MEMORY_THRESHOLD: Final = Threshold(96.0)
EVEN_THRESHOLD: Final = Threshold(0.93, least=True)
UNEVEN_THRESHOLD: Final = Threshold(0.90, least=True)
CASES: Final = ("one", "even", "uneven", "silent", "crowd")


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A SITE with one large rootfs, and who signed it; ``size`` is of all its artifacts."""

    site: Path
    channel: str
    keyid: str
    rootfs: Artifact
    size: int

    @property
    def entry(self) -> str:
        """The path of the rootfs below the root of a mirror."""
        return entry_path(self.rootfs.digest)

    def manifest_at(self, base: str) -> str:
        """The URL of the manifest at a mirror."""
        return f"{base}/{manifest_path(self.channel, ARCH)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the rows, print them."""
    words = argparse.ArgumentParser(prog="python -m image.bench.fetch", description=__doc__)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--only", choices=CASES, action="append", help="and leave the others out")
    words.add_argument("--out", type=Path, default=RESULT)
    options = words.parse_args(arguments)
    about = Bench(arch=str(ARCH), machine=host_description(), accel="native")
    measures: dict[str, Callable[[Bench, int], Iterator[Row]]] = {
        "one": one_nginx,
        "even": even_sources,
        "uneven": uneven_sources,
        "silent": beside_silent_sources,
        "crowd": crowd_of_clients,
    }
    rows: list[Row] = []
    for name in options.only or CASES:
        for row in measures[name](about, options.runs):
            rows.append(row)
            print("\n".join(table([row])[1:]), flush=True)
    (merge_rows if options.only else replace_rows)(options.out, rows)
    print("\n".join(table(rows)))
    return 0


def one_nginx(about: Bench, runs: int) -> Iterator[Row]:
    """1 GiB from one web server, as fast as this machine goes."""
    what = mirrored(1024)
    got: dict[str, list[Took]] = {name: [] for name in ("curl", "hashed", "aria2c", "ours")}
    with Lab(dhcp=False) as lab, scratch() as folder:
        place = Host(lab, 0)
        place.start_nginx(what.site)
        url, out, store = f"{place.base}/{what.entry}", folder / "rootfs", folder / "store"
        for _ in range(runs):
            got["curl"].append(clients.curl(lab, url, out))
            got["hashed"].append(clients.curl_then_hash(lab, url, out))
            got["aria2c"].append(clients.aria2c(lab, [url], out, what.rootfs.digest))
            out.unlink()
            got["ours"].append(clients.ours(lab, what.manifest_at(place.base), store, what.keyid))
            clients.check(store / "cas" / "sha256" / what.rootfs.digest.hex, what.rootfs.digest)
            shutil.rmtree(store)
    for name, peer, threshold in (
        ("curl", "curl -o", ONE_THRESHOLD),
        ("hashed", "curl, then sha256", None),
        ("aria2c", "aria2c", None),
    ):
        row = about.row(f"1 GiB from one nginx, beside {peer}", "s", _seconds(got["ours"]))
        yield about.compare(row, peer, _seconds(got[name]), threshold=threshold)
    memory = [took.rss_mib for took in got["ours"]]
    yield about.row("memory for 1 GiB", "MiB", memory, threshold=MEMORY_THRESHOLD)


def even_sources(about: Bench, runs: int) -> Iterator[Row]:
    """As much more from as many more sources of one rate."""
    for count in (1, 2, 4, 8):
        name = f"{count} x {RATE} Mbit/s"
        yield from _shares(about, runs, name, [RATE] * count, EVEN_THRESHOLD, mib=count * 128)


def uneven_sources(about: Bench, runs: int) -> Iterator[Row]:
    """Sources of which some are slow, stand still, or lie."""
    fast = [RATE] * 3
    yield from _shares(
        about, runs, f"3 x {RATE} + 1 x {SLOW} Mbit/s", [*fast, SLOW], UNEVEN_THRESHOLD
    )
    yield from _shares(
        about,
        runs,
        f"2 x {RATE} + 1 x {SLOW} + 1 that stalls",
        [RATE, RATE, SLOW],
        UNEVEN_THRESHOLD,
        stalls=True,
    )
    yield from _shares(
        about, runs, f"3 x {RATE} + 1 that lies", fast, UNEVEN_THRESHOLD, lies=True, beside=False
    )


def beside_silent_sources(about: Bench, runs: int) -> Iterator[Row]:
    """Sources that never answer, before one that does."""
    with scratch() as folder:
        yield from silent_sources.measure(about, runs, folder)


def crowd_of_clients(about: Bench, runs: int) -> Iterator[Row]:
    """32 machines that begin at once, at one origin."""
    what = mirrored(128)
    with Lab(dhcp=False) as lab, scratch() as folder:
        yield from many_clients.measure(
            about, runs, many_clients.ClientFleet(lab, folder, what.site, _as_wanted(what))
        )


def _as_wanted(what: Mirrored) -> many_clients.Wanted:
    return many_clients.Wanted(
        manifest=manifest_path(what.channel, ARCH),
        entry=what.entry,
        keyid=what.keyid,
        rootfs=what.rootfs,
        entries=tuple(f"{path.relative_to(what.site)}" for path in _entries(what.site)),
    )


def _entries(site: Path) -> Iterator[Path]:
    return (site / ENTRIES).iterdir()


def _shares(  # noqa: PLR0913 - what makes one row
    about: Bench,
    runs: int,
    name: str,
    rates: Sequence[int],
    threshold: Threshold,
    *,
    mib: int = 256,
    stalls: bool = False,
    lies: bool = False,
    beside: bool = True,
) -> Iterator[Row]:
    """Yield which share of the rates' sum we reach, and aria2c in the same run."""
    what = mirrored(mib)
    rate = sum(rates) * 1_000_000 / 8
    shares: list[float] = []
    theirs: list[float] = []
    with Lab(dhcp=False) as lab, scratch() as folder:
        places = [Host(lab, number, megabits=rate) for number, rate in enumerate(rates)]
        for place in places:
            place.start_nginx(what.site)
        bases = [place.base for place in places]
        if stalls:
            bases.append(_stalling(lab, len(places)))
        if lies:
            bases.append(_lying(lab, len(places), what, folder))
        store, out = folder / "store", folder / "rootfs"
        for _ in range(runs):
            took = clients.ours(lab, what.manifest_at(bases[0]), store, what.keyid, bases[1:])
            clients.check(store / "cas" / "sha256" / what.rootfs.digest.hex, what.rootfs.digest)
            shutil.rmtree(store)
            shares.append(what.size / rate / took.seconds)
            if beside:
                urls = [f"{base}/{what.entry}" for base in bases]
                peer = clients.aria2c(lab, urls, out, what.rootfs.digest)
                theirs.append(what.rootfs.size / rate / peer.seconds)
    row = about.row(name, SUM, shares, threshold=threshold)
    # The promise is of the sum; the peer stands beside it for what it is.
    yield about.compare(row, "aria2c", theirs) if theirs else row


def _stalling(lab: Lab, number: int) -> str:
    place = Host(lab, number, megabits=RATE)
    place.start_stalling_server(64 * 1024)
    return place.base


def _lying(lab: Lab, number: int, what: Mirrored, folder: Path) -> str:
    """Serve a copy of the SITE whose rootfs has the right size and nothing else right."""
    copy = folder / "lies"
    shutil.copytree(what.site, copy)
    victim = copy / what.entry
    victim.unlink()
    victim.write_bytes(bytes(what.rootfs.size))
    place = Host(lab, number, megabits=RATE)
    place.start_nginx(copy)
    return place.base


def mirrored(mib: int) -> Mirrored:
    """Return a SITE with a rootfs of so many MiB of noise, made once."""
    folder = WORK / f"{mib}-mib"
    key, site, channel = folder / "key", folder / "site", f"bench-{mib}"
    path = site / manifest_path(channel, ARCH)
    if not path.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _program("key", "new", str(key))
        noise = random.Random(mib)  # noqa: S311 - the same noise each time, and no secret
        for name, size in (("kernel", 1), ("initramfs", 1), ("rootfs", mib)):
            with (folder / name).open("wb") as file:
                for _ in range(size):
                    file.write(noise.randbytes(MIB))
        files = [word for name in ("kernel", "initramfs", "rootfs") for word in _file(folder, name)]
        _program(
            *(
                "publish",
                "--skip-image-checks",
                "--channel",
                channel,
                "--arch",
                str(ARCH),
                "--version",
                "1",
            ),
            *(*files, "--expires", "+3650d", "--key", str(key), "--out", str(site)),
        )
        (folder / "rootfs").unlink()
    artifacts = Manifest.of(read_document(path.read_bytes())).artifacts
    size = sum(artifact.size for artifact in artifacts.values())
    return Mirrored(site, channel, read_keyfile(key).keyid, artifacts["rootfs"], size)


def _file(folder: Path, name: str) -> tuple[str, str]:
    return f"--{name}", str(folder / name)


def _program(*words: str) -> None:
    clients.run([str(PROGRAM), *words])


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a real disk for what one measure writes."""
    folder = WORK / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder.absolute()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _seconds(runs: Sequence[Took]) -> list[float]:
    return [took.seconds for took in runs]


if __name__ == "__main__":
    sys.exit(edge.run(main))
