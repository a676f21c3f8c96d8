"""32 machines that want the same at once, from an origin whose cable is the narrow place.

On one machine with few processors the programs themselves take long to start, which 32 machines do
not wait for: the clock runs from when all are ready, and once more from when the first is started.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from image.bench import clients, torrent_client
from image.bench.results import (
    Bench,
    Row,
    Threshold,
)
from image.lab.netns import PORT, Host
from image.lab.network import IPV4, Lab
from image.lab.provider_process import PROGRAM
from phase_boot.content.artifact import Artifact

CLIENTS: Final = 32
RATE: Final = 200
FIRST_PORT: Final = 7000
PIECE: Final = 256 * 1024
SECONDS: Final = 600.0
TIME_THRESHOLD: Final = Threshold(1.1, of_peer=True)
COPIES_THRESHOLD: Final = Threshold(1.5)
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
    entries: tuple[str, ...]
    """The rootfs and what else the manifest promises."""


@dataclass(frozen=True, slots=True)
class Run:
    """From when all were ready until the last one had all, and what that took.

    Attributes:
        copies: how much the origin sent, in copies of the rootfs.
        whole: seconds from the start of the first program.
        cpu: seconds of processor time of one client from its start, on average.
    """

    seconds: float
    copies: float
    whole: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class ClientFleet:
    """The machines, and the SITE that they all want the same from."""

    lab: Lab
    folder: Path
    site: Path
    wanted: Wanted

    def curl(self, number: int) -> Run:
        """Fetch by curl, each for itself."""
        origin = Host(self.lab, number, megabits=RATE)
        origin.start_nginx(self.site)
        argv = ["curl", "-sfo", "/dev/null", f"{origin.base}/{self.wanted.entry}"]
        return self._timed(origin, [argv] * CLIENTS)

    def ours(self, number: int) -> Run:
        """Fetch by our own command, each handing on what it has."""
        origin = Host(self.lab, number, megabits=RATE)
        provider = _Provider(origin, self.site)
        stores = [self.folder / f"store-{client}" for client in range(CLIENTS)]
        url = f"{origin.base}/{self.wanted.manifest}"
        fetch = [str(PROGRAM), "fetch", url, "--key", self.wanted.keyid, "--serve", "0"]
        log = self.lab.folder / "clients"
        # Whoever has said what it wants waits for an answer: that is being ready.
        provider.pause()
        started = time.monotonic()
        with log.open("wb") as said:
            running = [
                self.lab.popen([*fetch, "--store", str(store)], stdout=said, stderr=said)
                for store in stores
            ]
        try:
            provider.wait_for_callers(CLIENTS)
            before, began = origin.bytes_sent(), time.monotonic()
            provider.go_on()
            self._wait_for_stores(stores, running, log)
            now = time.monotonic()
            copies = (origin.bytes_sent() - before) / self.wanted.rootfs.size
            run = Run(now - began, copies, now - started, _cpu(running))
        finally:
            for child in running:
                child.terminate()
            for child in running:
                child.wait(timeout=60)
            provider.end()
        digest = self.wanted.rootfs.digest
        for store in stores:
            clients.check(store / self.wanted.entry, digest)
            shutil.rmtree(store)
        return run

    def _wait_for_stores(
        self, stores: Sequence[Path], running: Sequence[subprocess.Popen[bytes]], log: Path
    ) -> None:
        """Return when all artifacts are durable in each store."""
        give_up = time.monotonic() + SECONDS
        left = [store / entry for store in stores for entry in self.wanted.entries]
        while left := [path for path in left if not path.exists()]:
            if time.monotonic() > give_up or any(child.poll() is not None for child in running):
                words = log.read_text(errors="replace")[-2000:]
                raise clients.BenchFailed(f"A client of ours ended early, or never: {words}")
            time.sleep(0.05)

    def torrents(self, number: int, role: str) -> Run:
        """Fetch by libtorrent: every client is told of all others before it begins."""
        origin = Host(self.lab, number, megabits=RATE)
        source, meta = (self.site / self.wanted.entry).absolute(), self.folder / "torrent"
        torrent_client.make(str(source), str(meta), PIECE)
        program = [sys.executable, "-I", torrent_client.__file__]
        argv = [*program, role, str(meta), str(source.parent), str(FIRST_PORT)]
        seed = self._start(origin.command(argv))
        _hear(seed, "ready")
        peers = [f"{origin.address}:{FIRST_PORT}"]
        running, started = [], time.monotonic()
        for client in range(CLIENTS):
            target, port = self.folder / f"torrent-{client}", FIRST_PORT + 1 + client
            target.mkdir()
            running.append(
                self._start([*program, "client", str(meta), str(target), str(port), *peers])
            )
            peers.append(f"{IPV4}:{port}")
        try:
            return self._raced(origin, running, started)
        finally:
            for child in (seed, *running):
                with suppress(OSError):
                    child.communicate(timeout=60)
            for client in range(CLIENTS):
                shutil.rmtree(self.folder / f"torrent-{client}")

    def _timed(self, origin: Host, commands: Sequence[Sequence[str]]) -> Run:
        """Start programs and wait for the last; raise BenchFailed if one of them fails."""
        before, began = origin.bytes_sent(), time.monotonic()
        log = self.lab.folder / "clients"
        with log.open("wb") as said:
            running = [self.lab.popen(argv, stdout=said, stderr=said) for argv in commands]
            statuses = [child.wait(timeout=SECONDS) for child in running]
        seconds = time.monotonic() - began
        if any(statuses):
            words = log.read_text(errors="replace")[-2000:]
            raise clients.BenchFailed(f"A client of {commands[0][0]} failed: {words}")
        return Run(seconds, (origin.bytes_sent() - before) / self.wanted.rootfs.size)

    def _raced(
        self, origin: Host, running: Sequence[subprocess.Popen[bytes]], started: float
    ) -> Run:
        """Let clients that wait for a word begin, and wait for the last."""
        for child in running:
            _hear(child, "ready")
        before, began = origin.bytes_sent(), time.monotonic()
        for child in running:
            if child.stdin is not None:
                child.stdin.write(b"\n")
                child.stdin.flush()
        for child in running:
            _hear(child, "whole")
        now = time.monotonic()
        copies = (origin.bytes_sent() - before) / self.wanted.rootfs.size
        return Run(now - began, copies, now - started, _cpu(running))

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        return self.lab.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def measure(about: Bench, runs: int, crowd: ClientFleet, *, curl: bool = True) -> Iterator[Row]:
    """Yield how long they take and what the origin sends, beside libtorrent and curl."""
    got: dict[str, list[Run]] = {"ours": [], **{role: [] for role in ROLES}}
    for number in range(0, 3 * runs, 3):
        got["ours"].append(crowd.ours(number))
        for at, role in enumerate(ROLES, start=1):
            got[role].append(crowd.torrents(number + at, role))
    best = min(ROLES, key=lambda role: median(_each("seconds", got[role])))
    name = f"{CLIENTS} clients, origin {RATE} Mbit/s"
    for field, of, unit, threshold in (
        ("seconds", "", "s", TIME_THRESHOLD),
        ("copies", ", sent by it", COPIES, COPIES_THRESHOLD),
        ("whole", ", from their start", "s", None),
        ("cpu", ", processor time of each", "s", None),
    ):
        row = about.row(f"{name}{of}", unit, _each(field, got["ours"]), threshold=threshold)
        theirs = _each(field, got[best])
        yield about.compare(
            row, "libtorrent's best", theirs, threshold=threshold if field == "seconds" else None
        )
    for role, told in ROLES.items():
        yield about.row(f"{name}, libtorrent {told}", "s", _each("seconds", got[role]))
        yield about.row(f"{name}, libtorrent {told} sent", COPIES, _each("copies", got[role]))
    if curl:
        plain = [crowd.curl(3 * runs)]
        yield about.row(f"{name}, curl", "s", _each("seconds", plain))
        yield about.row(f"{name}, curl sent", COPIES, _each("copies", plain))


def _each(field: str, runs: Sequence[Run]) -> list[float]:
    return [getattr(run, field) for run in runs]


class _Provider:
    """Our provider at a place, which can be stopped and let go on."""

    def __init__(self, place: Host, site: Path) -> None:
        self._place = place
        self._pid = place.folder / "pid"
        words = ["serve", str(site.absolute()), "--port", str(PORT), "--no-announce"]
        script = 'echo $$ > "$1"; shift; exec "$@"'
        self._process = place.start(
            ["sh", "-c", script, "sh", str(self._pid), str(PROGRAM), *words]
        )
        place.wait_for_port()

    def pause(self) -> None:
        """Answer nobody from now on; who calls is heard later."""
        self._signal("STOP")

    def go_on(self) -> None:
        """Answer all who called."""
        self._signal("CONT")
        # What put it into its namespaces stops when it does, and does not go on by itself.
        self._process.send_signal(signal.SIGCONT)

    def wait_for_callers(self, count: int) -> None:
        """Return when so many have called; raise BenchFailed if they do not."""
        give_up = time.monotonic() + SECONDS
        asked = ["ss", "-Htn", "state", "established", f"sport = :{PORT}"]
        while self._place.run(asked).count("\n") < count:
            if time.monotonic() > give_up:
                raise clients.BenchFailed(f"Fewer than {count} clients are ready.")
            time.sleep(0.1)

    def end(self) -> None:
        """End it, paused or not."""
        self.go_on()
        self._process.terminate()

    def _signal(self, name: str) -> None:
        self._place.run(["kill", f"-{name}", self._pid.read_text().strip()])


def _cpu(running: Sequence[subprocess.Popen[bytes]]) -> float:
    """Return the processor time that each of these has taken with all its children, on average."""
    ticks = sum(_ticks(child.pid) for child in running)
    return ticks / os.sysconf("SC_CLK_TCK") / len(running)


def _ticks(pid: int) -> int:
    folder = Path(f"/proc/{pid}")
    # After the name, which may have any character in it.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    children = (folder / f"task/{pid}/children").read_text().split()
    return sum(map(int, fields[11:15])) + sum(_ticks(int(child)) for child in children)


def _hear(child: subprocess.Popen[bytes], word: str) -> None:
    """Wait until a child says `word`; raise BenchFailed if it ends before."""
    said = child.stdout.readline().decode().strip() if child.stdout else ""
    if said != word:
        raise clients.BenchFailed(f"libtorrent said {said!r} instead of {word!r}.")
