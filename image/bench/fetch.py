"""`make bench-fetch`: downloads in a lab, compared with curl, aria2c and libtorrent.

Runs of all clients alternate on the same hosts. Each run starts with an empty store and ends when
the last byte is durable. The start-up time of our own command counts.
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
from image.bench.clients import MIB, Timing
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
class Release:
    """A SITE with a large rootfs, its publisher's key id, and the ``size`` of all artifacts."""

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
        """Return the manifest's URL on a mirror."""
        return f"{base}/{manifest_path(self.channel, ARCH)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, write its rows, and print them."""
    parser = argparse.ArgumentParser(prog="python -m image.bench.fetch", description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--only", choices=CASES, action="append", help="run only this case; repeatable"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
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
    """Download 1 GiB from one web server whose rate is not limited."""
    release = published(1024)
    got: dict[str, list[Timing]] = {name: [] for name in ("curl", "hashed", "aria2c", "ours")}
    with Lab(dhcp=False) as lab, scratch() as folder:
        host = Host(lab, 0)
        host.start_nginx(release.site)
        url, out, store = f"{host.base}/{release.entry}", folder / "rootfs", folder / "store"
        for _ in range(runs):
            got["curl"].append(clients.curl(lab, url, out))
            got["hashed"].append(clients.curl_then_hash(lab, url, out))
            got["aria2c"].append(clients.aria2c(lab, [url], out, release.rootfs.digest))
            out.unlink()
            got["ours"].append(
                clients.ours(lab, release.manifest_at(host.base), store, release.keyid)
            )
            clients.check_sha256(
                store / "cas" / "sha256" / release.rootfs.digest.hex, release.rootfs.digest
            )
            shutil.rmtree(store)
    for name, peer, threshold in (
        ("curl", "curl -o", ONE_THRESHOLD),
        ("hashed", "curl, then sha256", None),
        ("aria2c", "aria2c", None),
    ):
        row = about.row(f"1 GiB from one nginx, compared with {peer}", "s", _seconds(got["ours"]))
        yield about.compare(row, peer, _seconds(got[name]), threshold=threshold)
    memory = [timing.rss_mib for timing in got["ours"]]
    yield about.row("memory for 1 GiB", "MiB", memory, threshold=MEMORY_THRESHOLD)


def even_sources(about: Bench, runs: int) -> Iterator[Row]:
    """Download from 1, 2, 4 and 8 sources of the same rate."""
    for count in (1, 2, 4, 8):
        name = f"{count} x {RATE} Mbit/s"
        yield from _shares(about, runs, name, [RATE] * count, EVEN_THRESHOLD, mib=count * 128)


def uneven_sources(about: Bench, runs: int) -> Iterator[Row]:
    """Download from sources of which one is slow, stalls, or serves wrong bytes."""
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
        about,
        runs,
        f"3 x {RATE} + 1 with wrong bytes",
        fast,
        UNEVEN_THRESHOLD,
        corrupt=True,
        compare=False,
    )


def beside_silent_sources(about: Bench, runs: int) -> Iterator[Row]:
    """Download with sources that never answer before one that does."""
    with scratch() as folder:
        yield from silent_sources.measure(about, runs, folder)


def crowd_of_clients(about: Bench, runs: int) -> Iterator[Row]:
    """Download by 32 clients at once from one server."""
    release = published(128)
    with Lab(dhcp=False) as lab, scratch() as folder:
        yield from many_clients.measure(
            about, runs, many_clients.ClientFleet(lab, folder, release.site, _as_download(release))
        )


def _as_download(release: Release) -> many_clients.Download:
    return many_clients.Download(
        manifest=manifest_path(release.channel, ARCH),
        entry=release.entry,
        keyid=release.keyid,
        rootfs=release.rootfs,
        entries=tuple(f"{path.relative_to(release.site)}" for path in _entries(release.site)),
    )


def _entries(site: Path) -> Iterator[Path]:
    return (site / ENTRIES).iterdir()


def _shares(  # noqa: PLR0913 - the parameters of one row
    about: Bench,
    runs: int,
    name: str,
    rates: Sequence[int],
    threshold: Threshold,
    *,
    mib: int = 256,
    stalls: bool = False,
    corrupt: bool = False,
    compare: bool = True,
) -> Iterator[Row]:
    """Yield the achieved share of the sum of rates, ours and aria2c's."""
    release = published(mib)
    rate = sum(rates) * 1_000_000 / 8
    shares: list[float] = []
    theirs: list[float] = []
    with Lab(dhcp=False) as lab, scratch() as folder:
        hosts = [Host(lab, number, megabits=rate) for number, rate in enumerate(rates)]
        for host in hosts:
            host.start_nginx(release.site)
        bases = [host.base for host in hosts]
        if stalls:
            bases.append(_stalling_host(lab, len(hosts)))
        if corrupt:
            bases.append(_corrupt_host(lab, len(hosts), release, folder))
        store, out = folder / "store", folder / "rootfs"
        for _ in range(runs):
            timing = clients.ours(
                lab, release.manifest_at(bases[0]), store, release.keyid, bases[1:]
            )
            clients.check_sha256(
                store / "cas" / "sha256" / release.rootfs.digest.hex, release.rootfs.digest
            )
            shutil.rmtree(store)
            shares.append(release.size / rate / timing.seconds)
            if compare:
                urls = [f"{base}/{release.entry}" for base in bases]
                peer = clients.aria2c(lab, urls, out, release.rootfs.digest)
                theirs.append(release.rootfs.size / rate / peer.seconds)
    row = about.row(name, SUM, shares, threshold=threshold)
    # The threshold is a share of the sum; the peer is shown for information.
    yield about.compare(row, "aria2c", theirs) if theirs else row


def _stalling_host(lab: Lab, number: int) -> str:
    host = Host(lab, number, megabits=RATE)
    host.start_stalling_server(64 * 1024)
    return host.base


def _corrupt_host(lab: Lab, number: int, release: Release, folder: Path) -> str:
    """Serve a copy of the SITE whose rootfs has the right size and wrong content."""
    copy = folder / "corrupt"
    shutil.copytree(release.site, copy)
    victim = copy / release.entry
    victim.unlink()
    victim.write_bytes(bytes(release.rootfs.size))
    host = Host(lab, number, megabits=RATE)
    host.start_nginx(copy)
    return host.base


def published(mib: int) -> Release:
    """Return a release with a rootfs of `mib` MiB of noise; it is published once and kept."""
    folder = WORK / f"{mib}-mib"
    key, site, channel = folder / "key", folder / "site", f"bench-{mib}"
    path = site / manifest_path(channel, ARCH)
    if not path.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _program("key", "new", str(key))
        noise = random.Random(mib)  # noqa: S311 - reproducible test data, no secret
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
    return Release(site, channel, read_keyfile(key).keyid, artifacts["rootfs"], size)


def _file(folder: Path, name: str) -> tuple[str, str]:
    return f"--{name}", str(folder / name)


def _program(*arguments: str) -> None:
    clients.run([str(PROGRAM), *arguments])


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty folder on disk for what one case writes; then remove it."""
    folder = WORK / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder.absolute()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _seconds(runs: Sequence[Timing]) -> list[float]:
    return [timing.seconds for timing in runs]


if __name__ == "__main__":
    sys.exit(edge.run(main))
