"""Downloads of one rootfs by 32 clients at once, from a server whose link is the bottleneck.

All clients share the processors of one machine, so their programs take long to start. On 32
machines they would not. Each run is therefore measured twice: from when all clients are ready, and
from when the first one starts.
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
"""Modes of libtorrent's server, and their names in the results."""


@dataclass(frozen=True, slots=True)
class Download:
    """What the clients download: paths below a mirror's root, and the publisher's key id.

    Attributes:
        entry: the path of the rootfs.
        entries: the paths of all artifacts.
    """

    manifest: str
    entry: str
    keyid: str
    rootfs: Artifact
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of all clients.

    Attributes:
        seconds: from when all clients are ready until the last one has everything.
        copies: bytes that the server sent, divided by the size of the rootfs.
        whole: seconds from the start of the first client.
        cpu: mean processor time of a client since its start, in seconds.
    """

    seconds: float
    copies: float
    whole: float = 0.0
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class ClientFleet:
    """The clients and the server's SITE."""

    lab: Lab
    folder: Path
    site: Path
    download: Download

    def curl(self, number: int) -> Run:
        """Download by curl: every client from the server."""
        server = Host(self.lab, number, megabits=RATE)
        server.start_nginx(self.site)
        argv = ["curl", "-sfo", "/dev/null", f"{server.base}/{self.download.entry}"]
        return self._timed(server, [argv] * CLIENTS)

    def ours(self, number: int) -> Run:
        """Download by `phase-boot fetch --serve`: clients share what they have."""
        server = Host(self.lab, number, megabits=RATE)
        provider = _Provider(server, self.site)
        stores = [self.folder / f"store-{client}" for client in range(CLIENTS)]
        url = f"{server.base}/{self.download.manifest}"
        fetch = [str(PROGRAM), "fetch", url, "--key", self.download.keyid, "--serve", "0"]
        log = self.lab.folder / "clients"
        # A client is ready when its announcement waits for the paused tracker's reply.
        provider.pause()
        started = time.monotonic()
        with log.open("wb") as output:
            running = [
                self.lab.popen([*fetch, "--store", str(store)], stdout=output, stderr=output)
                for store in stores
            ]
        try:
            provider.wait_for_connections(CLIENTS)
            before, began = server.bytes_sent(), time.monotonic()
            provider.resume()
            self._wait_for_stores(stores, running, log)
            now = time.monotonic()
            copies = (server.bytes_sent() - before) / self.download.rootfs.size
            run = Run(now - began, copies, now - started, _cpu(running))
        finally:
            for child in running:
                child.terminate()
            for child in running:
                child.wait(timeout=60)
            provider.end()
        digest = self.download.rootfs.digest
        for store in stores:
            clients.check_sha256(store / self.download.entry, digest)
            shutil.rmtree(store)
        return run

    def _wait_for_stores(
        self, stores: Sequence[Path], running: Sequence[subprocess.Popen[bytes]], log: Path
    ) -> None:
        """Return when every store has all artifacts."""
        deadline = time.monotonic() + SECONDS
        left = [store / entry for store in stores for entry in self.download.entries]
        while left := [path for path in left if not path.exists()]:
            if time.monotonic() > deadline or any(child.poll() is not None for child in running):
                text = log.read_text(errors="replace")[-2000:]
                raise clients.BenchFailed(f"A client of ours ended early or took too long: {text}")
            time.sleep(0.05)

    def torrents(self, number: int, role: str) -> Run:
        """Download by libtorrent; each client knows the server and all clients before it."""
        server = Host(self.lab, number, megabits=RATE)
        source, meta = (self.site / self.download.entry).absolute(), self.folder / "torrent"
        torrent_client.make(str(source), str(meta), PIECE)
        program = [sys.executable, "-I", torrent_client.__file__]
        argv = [*program, role, str(meta), str(source.parent), str(FIRST_PORT)]
        seed = self._start(server.command(argv))
        _expect(seed, "ready")
        peers = [f"{server.address}:{FIRST_PORT}"]
        running, started = [], time.monotonic()
        for client in range(CLIENTS):
            target, port = self.folder / f"torrent-{client}", FIRST_PORT + 1 + client
            target.mkdir()
            running.append(
                self._start([*program, "client", str(meta), str(target), str(port), *peers])
            )
            peers.append(f"{IPV4}:{port}")
        try:
            return self._race(server, running, started)
        finally:
            for child in (seed, *running):
                with suppress(OSError):
                    child.communicate(timeout=60)
            for client in range(CLIENTS):
                shutil.rmtree(self.folder / f"torrent-{client}")

    def _timed(self, server: Host, commands: Sequence[Sequence[str]]) -> Run:
        """Run all `commands` at once; raise BenchFailed if one fails."""
        before, began = server.bytes_sent(), time.monotonic()
        log = self.lab.folder / "clients"
        with log.open("wb") as output:
            running = [self.lab.popen(argv, stdout=output, stderr=output) for argv in commands]
            statuses = [child.wait(timeout=SECONDS) for child in running]
        seconds = time.monotonic() - began
        if any(statuses):
            text = log.read_text(errors="replace")[-2000:]
            raise clients.BenchFailed(f"A client of {commands[0][0]} failed: {text}")
        return Run(seconds, (server.bytes_sent() - before) / self.download.rootfs.size)

    def _race(
        self, server: Host, running: Sequence[subprocess.Popen[bytes]], started: float
    ) -> Run:
        """Start the downloads of clients that wait for input, and wait for the last one."""
        for child in running:
            _expect(child, "ready")
        before, began = server.bytes_sent(), time.monotonic()
        for child in running:
            if child.stdin is not None:
                child.stdin.write(b"\n")
                child.stdin.flush()
        for child in running:
            _expect(child, "complete")
        now = time.monotonic()
        copies = (server.bytes_sent() - before) / self.download.rootfs.size
        return Run(now - began, copies, now - started, _cpu(running))

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        return self.lab.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def measure(about: Bench, runs: int, fleet: ClientFleet, *, curl: bool = True) -> Iterator[Row]:
    """Yield seconds, copies and processor time, compared with libtorrent and curl."""
    got: dict[str, list[Run]] = {"ours": [], **{role: [] for role in ROLES}}
    for number in range(0, 3 * runs, 3):
        got["ours"].append(fleet.ours(number))
        for at, role in enumerate(ROLES, start=1):
            got[role].append(fleet.torrents(number + at, role))
    best = min(ROLES, key=lambda role: median(_each("seconds", got[role])))
    name = f"{CLIENTS} clients, server {RATE} Mbit/s"
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
    for role, mode in ROLES.items():
        yield about.row(f"{name}, libtorrent {mode}", "s", _each("seconds", got[role]))
        yield about.row(f"{name}, libtorrent {mode} sent", COPIES, _each("copies", got[role]))
    if curl:
        plain = [fleet.curl(3 * runs)]
        yield about.row(f"{name}, curl", "s", _each("seconds", plain))
        yield about.row(f"{name}, curl sent", COPIES, _each("copies", plain))


def _each(field: str, runs: Sequence[Run]) -> list[float]:
    return [getattr(run, field) for run in runs]


class _Provider:
    """Our provider on a host; it can be paused and resumed."""

    def __init__(self, host: Host, site: Path) -> None:
        self._host = host
        self._pid = host.folder / "pid"
        arguments = ["serve", str(site.absolute()), "--port", str(PORT), "--no-announce"]
        script = 'echo $$ > "$1"; shift; exec "$@"'
        self._process = host.start(
            ["sh", "-c", script, "sh", str(self._pid), str(PROGRAM), *arguments]
        )
        host.wait_for_port()

    def pause(self) -> None:
        """Stop the process; connections queue up."""
        self._signal("STOP")

    def resume(self) -> None:
        """Continue the process, which then answers all queued connections."""
        self._signal("CONT")
        # nsenter stops together with its child, and has to be continued too.
        self._process.send_signal(signal.SIGCONT)

    def wait_for_connections(self, count: int) -> None:
        """Return when `count` connections are established; raise BenchFailed after SECONDS."""
        deadline = time.monotonic() + SECONDS
        command = ["ss", "-Htn", "state", "established", f"sport = :{PORT}"]
        while self._host.run(command).count("\n") < count:
            if time.monotonic() > deadline:
                raise clients.BenchFailed(f"Fewer than {count} clients are ready.")
            time.sleep(0.1)

    def end(self) -> None:
        """End the process, paused or not."""
        self.resume()
        self._process.terminate()

    def _signal(self, name: str) -> None:
        self._host.run(["kill", f"-{name}", self._pid.read_text().strip()])


def _cpu(running: Sequence[subprocess.Popen[bytes]]) -> float:
    """Return the mean processor time of these processes, children included, in seconds."""
    ticks = sum(_ticks(child.pid) for child in running)
    return ticks / os.sysconf("SC_CLK_TCK") / len(running)


def _ticks(pid: int) -> int:
    folder = Path(f"/proc/{pid}")
    # The fields follow the program's name, which can contain any character.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    children = (folder / f"task/{pid}/children").read_text().split()
    return sum(map(int, fields[11:15])) + sum(_ticks(int(child)) for child in children)


def _expect(child: subprocess.Popen[bytes], word: str) -> None:
    """Read one line of a client; raise BenchFailed if it is not `word`."""
    line = child.stdout.readline().decode().strip() if child.stdout else ""
    if line != word:
        raise clients.BenchFailed(f"libtorrent printed {line!r} instead of {word!r}.")
