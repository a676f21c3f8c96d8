"""Where the benches of the WAN run: kubo nodes and manifest servers in a lab, near or far.

What is near is in the lab itself, without delay. What is far is behind a link of 150 Mbit/s with
25 ms in each direction.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from image.bench.fetch import ARCH, Release, published
from image.lab.namespace import LabError
from image.lab.netns import Netns
from image.lab.network import IPV4, Lab
from image.lab.wan import ADDRESS, WanLink, WanNetwork
from phase_boot.announce.site_roots import root_car, site_roots
from phase_boot.store.layout import manifest_path
from phase_boot.trust.manifest import Manifest
from phase_boot.trust.strict_json import read_document
from tests.support.kubo import IPFS, configure_repo, environment_of

MEGABITS: Final = 150
ROUND_TRIP: Final = 50
"""Milliseconds."""
LINK: Final = WanLink(megabits=MEGABITS, milliseconds=ROUND_TRIP // 2)
SHAPE: Final = f"{ROUND_TRIP} ms, {MEGABITS} Mbit/s"
GATEWAY_PORT: Final = 8080
SWARM_PORT: Final = 4001
PROVIDER_PORT: Final = 8070
_START_SECONDS: Final = 60.0
_IMPORT_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace, and the address at which the rest of the lab reaches it."""

    net: Lab | Netns
    address: str


def near(lab: Lab) -> Place:
    """Return the lab itself."""
    return Place(lab, IPV4)


def far(lab: Lab) -> Place:
    """Return a place behind the link; a lab has one."""
    return Place(WanNetwork(lab, LINK), ADDRESS)


@dataclass(frozen=True, slots=True)
class BenchNode:
    """A kubo node in a place."""

    place: Place
    repo: Path

    @property
    def url(self) -> str:
        """The URL of its gateway."""
        return f"http://{self.place.address}:{GATEWAY_PORT}"

    def ipfs(self, *words: str) -> str:
        """Run a command of the node, and return its output."""
        return self.place.net.run(
            ["env", f"IPFS_PATH={self.repo}", str(IPFS), *words], timeout=_IMPORT_SECONDS
        )

    def import_cars(self, cars: Iterable[Path]) -> None:
        """Store the blocks of the files, and pin their roots."""
        for car in cars:
            self.ipfs("dag", "import", str(car.absolute()))

    def connect(self, other: BenchNode) -> None:
        """Connect with another node."""
        peer = other.ipfs("id", "-f", "<id>").strip()
        self.ipfs("swarm", "connect", f"/ip4/{other.place.address}/tcp/{SWARM_PORT}/p2p/{peer}")

    def forget(self) -> None:
        """Remove every block that is not pinned."""
        self.ipfs("repo", "gc", "--quiet")


def start_kubo(place: Place, repo: Path, settings: Mapping[str, object] | None = None) -> BenchNode:
    """Start a node with an empty repository in the folder ``repo``, and wait until it serves.

    Raises:
        LabError: kubo is not built, or does not start.
    """
    if not IPFS.is_file():
        raise LabError("kubo is not built; run `make kubo`.")
    shutil.rmtree(repo, ignore_errors=True)
    addresses = {
        "Addresses.Swarm": [f"/ip4/{place.address}/tcp/{SWARM_PORT}"],
        "Addresses.API": "/ip4/127.0.0.1/tcp/5001",
        "Addresses.Gateway": f"/ip4/{place.address}/tcp/{GATEWAY_PORT}",
    }
    configure_repo(repo, {**addresses, **(settings or {})})
    log = repo / "daemon.log"
    with log.open("wb") as out:
        process = place.net.popen(
            [str(IPFS), "daemon"], stdout=out, stderr=out, env=environment_of(repo)
        )
    deadline = time.monotonic() + _START_SECONDS
    while b"Daemon is ready" not in (text := log.read_bytes()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"kubo does not start: {text[-500:].decode(errors='replace')}")
        time.sleep(0.05)
    return BenchNode(place, repo)


@dataclass(frozen=True, slots=True)
class Imported:
    """A release, the CID of its rootfs, and a CAR of each artifact, to be imported."""

    release: Release
    rootfs: str
    cars: tuple[Path, ...]


def imported(mib: int) -> Imported:
    """Return a release of `mib` MiB, and the CARs of what IPFS nodes hold of it, made once."""
    release = published(mib)
    manifest = Manifest.of(
        read_document((release.site / manifest_path(release.channel, ARCH)).read_bytes())
    )
    folder = release.site.parent / "cars"
    folder.mkdir(exist_ok=True)
    cars: list[Path] = []
    for root in site_roots(release.site, [(release.channel, ARCH)]):
        car = folder / f"{root.cid}.car"
        blocks = root_car(release.site, root)
        if blocks is not None:
            cars.append(car)
        if blocks is not None and not car.exists():
            with Path(f"{car}.part").open("wb") as part:
                part.writelines(blocks)
            Path(f"{car}.part").rename(car)
    return Imported(release, str(manifest.dags["rootfs"]), tuple(cars))


def manifest_folder(release: Release, folder: Path) -> Path:
    """Lay out a SITE in ``folder`` that has the manifest and nothing that it names."""
    path = manifest_path(release.channel, ARCH)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(release.site / path, folder / path)
    return folder
