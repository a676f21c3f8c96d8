"""32 machines that want the same at once, from an origin whose cable is the narrow place."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from image.bench import sides, torrent
from image.bench.rows import Aim, Bench, Row
from image.bench.wires import PORT, Place
from image.lab import IPV4, Lab
from image.serving import PROGRAM
from phase_boot.trust.manifest import Artifact

CLIENTS: Final = 32
RATE: Final = 200
FIRST_PORT: Final = 7000
PIECE: Final = 256 * 1024
SECONDS: Final = 600.0
TIME_AIM: Final = Aim(1.1, of_peer=True)
COPIES_AIM: Final = Aim(1.5)
COPIES: Final = "copies"
ROLES: Final = {"seeding": "seed", "sparing": "super-seed"}
"""How libtorrent's origin behaves."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What they want: paths below the root of a mirror, and who signed it."""

    manifest: str
    entry: str
    keyid: str
    rootfs: Artifact


@dataclass(frozen=True, slots=True)
class Run:
    """Until the last one had all, and how much the origin sent, in copies of the rootfs."""

    seconds: float
    copies: float


@dataclass(frozen=True, slots=True)
class Crowd:
    """The machines, and the SITE that they all want the same from."""

    lab: Lab
    folder: Path
    site: Path
    wanted: Wanted

    def curl(self, number: int) -> Run:
        """Fetch by curl, each for itself."""
        origin = Place(self.lab, number, megabits=RATE)
        origin.nginx(self.site)
        argv = ["curl", "-sfo", "/dev/null", f"{origin.base}/{self.wanted.entry}"]
        return self._timed(origin, [argv] * CLIENTS)

    def ours(self, number: int) -> Run:
        """Fetch by our own command, each handing on what it has."""
        origin = Place(self.lab, number, megabits=RATE)
        words = ["serve", str(self.site.absolute()), "--port", str(PORT), "--no-announce"]
        provider = origin.start([str(PROGRAM), *words])
        origin.wait()
        stores = [self.folder / f"store-{client}" for client in range(CLIENTS)]
        url = f"{origin.base}/{self.wanted.manifest}"
        fetch = [str(PROGRAM), "fetch", url, "--key", self.wanted.keyid, "--serve", "0"]
        run = self._timed(origin, [[*fetch, "--store", str(store)] for store in stores])
        provider.terminate()
        digest = self.wanted.rootfs.digest
        for store in stores:
            sides.check(store / "cas" / "sha256" / digest.hex, digest)
            shutil.rmtree(store)
        return run

    def torrents(self, number: int, role: str) -> Run:
        """Fetch by libtorrent: every client is told of all others before it begins."""
        origin = Place(self.lab, number, megabits=RATE)
        source, meta = (self.site / self.wanted.entry).absolute(), self.folder / "torrent"
        torrent.make(str(source), str(meta), PIECE)
        program = [sys.executable, "-I", torrent.__file__]
        argv = [*program, role, str(meta), str(source.parent), str(FIRST_PORT)]
        seed = self._start(origin.command(argv))
        _hear(seed, "ready")
        peers = [f"{origin.address}:{FIRST_PORT}"]
        running = []
        for client in range(CLIENTS):
            target, port = self.folder / f"torrent-{client}", FIRST_PORT + 1 + client
            target.mkdir()
            running.append(
                self._start([*program, "client", str(meta), str(target), str(port), *peers])
            )
            peers.append(f"{IPV4}:{port}")
        try:
            return self._raced(origin, running)
        finally:
            for child in (seed, *running):
                with suppress(OSError):
                    child.communicate(timeout=60)
            for client in range(CLIENTS):
                shutil.rmtree(self.folder / f"torrent-{client}")

    def _timed(self, origin: Place, clients: Sequence[Sequence[str]]) -> Run:
        """Start programs and wait for the last; raise BenchFailed if one of them fails."""
        before, began = origin.sent(), time.monotonic()
        log = self.lab.folder / "clients"
        with log.open("wb") as said:
            running = [self.lab.popen(argv, stdout=said, stderr=said) for argv in clients]
            statuses = [child.wait(timeout=SECONDS) for child in running]
        seconds = time.monotonic() - began
        if any(statuses):
            words = log.read_text(errors="replace")[-2000:]
            raise sides.BenchFailed(f"A client of {clients[0][0]} failed: {words}")
        return Run(seconds, (origin.sent() - before) / self.wanted.rootfs.size)

    def _raced(self, origin: Place, running: Sequence[subprocess.Popen[bytes]]) -> Run:
        """Let clients that wait for a word begin, and wait for the last."""
        for child in running:
            _hear(child, "ready")
        before, began = origin.sent(), time.monotonic()
        for child in running:
            if child.stdin is not None:
                child.stdin.write(b"\n")
                child.stdin.flush()
        for child in running:
            _hear(child, "whole")
        return Run(time.monotonic() - began, (origin.sent() - before) / self.wanted.rootfs.size)

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        return self.lab.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def measure(about: Bench, runs: int, crowd: Crowd) -> Iterator[Row]:
    """Yield how long they take and what the origin sends, beside libtorrent and curl."""
    plain = [crowd.curl(0)]
    got: dict[str, list[Run]] = {"ours": [], **{role: [] for role in ROLES}}
    for number in range(1, 1 + 3 * runs, 3):
        got["ours"].append(crowd.ours(number))
        for at, role in enumerate(ROLES, start=1):
            got[role].append(crowd.torrents(number + at, role))
    best = min(ROLES, key=lambda role: median(_seconds(got[role])))
    name = f"{CLIENTS} clients, origin {RATE} Mbit/s"
    row = about.row(name, "s", _seconds(got["ours"]))
    yield about.beside(row, "libtorrent's best", _seconds(got[best]), aim=TIME_AIM)
    yield about.beside(about.row(name, "s", _seconds(got["ours"])), "curl", _seconds(plain))
    row = about.row(f"{name}, sent by it", COPIES, _copies(got["ours"]), aim=COPIES_AIM)
    yield about.beside(row, "libtorrent's best", _copies(got[best]))
    for role, told in ROLES.items():
        yield about.row(f"{name}, libtorrent {told}", "s", _seconds(got[role]))
        yield about.row(f"{name}, libtorrent {told} sent", COPIES, _copies(got[role]))
    yield about.row(f"{name}, curl sent", COPIES, _copies(plain))


def _seconds(runs: Sequence[Run]) -> list[float]:
    return [run.seconds for run in runs]


def _copies(runs: Sequence[Run]) -> list[float]:
    return [run.copies for run in runs]


def _hear(child: subprocess.Popen[bytes], word: str) -> None:
    """Wait until a child says `word`; raise BenchFailed if it ends before."""
    said = child.stdout.readline().decode().strip() if child.stdout else ""
    if said != word:
        raise sides.BenchFailed(f"libtorrent said {said!r} instead of {word!r}.")
