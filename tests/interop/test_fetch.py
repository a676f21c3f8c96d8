"""Filling a store ahead by one command: real programs on both sides, a kill in the middle."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from phase_boot.cli import main
from phase_boot.content.digest import Digest
from phase_boot.drill.kernels import bzimage
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.provider.ranges import parse_range

PHASE_BOOT = str(Path(sys.executable).parent / "phase-boot")
ROOTFS = random.Random(7).randbytes(6_000_000)  # noqa: S311 - the same bytes every time
FILES = {
    "kernel": bzimage(b"kernel"),
    "initramfs": archive([Entry.file("init", b"070701" * 900)]),
    "rootfs": ROOTFS,
}
ENTRY = f"cas/sha256/{Digest.of(ROOTFS).hex}"


class Ranges(SimpleHTTPRequestHandler):
    """Sends parts of files, as slowly as the server is told to, and counts what it sent."""

    protocol_version = "HTTP/1.1"
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.first:
            self.server.first.pop(0)(self)
            return
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        data = self.server.twist(file.read_bytes()) if ENTRY in self.path else file.read_bytes()
        span = parse_range(self.headers.get("Range", ""), len(data))
        self.send_response(200 if span is None else 206)
        if span is not None:
            last = span.start + span.count - 1
            self.send_header("Content-Range", f"bytes {span.start}-{last}/{len(data)}")
            data = data[span.start : last + 1]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for at in range(0, len(data), 65536):
            time.sleep(self.server.seconds)
            self.wfile.write(data[at : at + 65536])
            self.server.sent += len(data[at : at + 65536])

    def busy(self) -> None:
        self.send_response(503)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def log_message(self, *_args: object) -> None:
        pass


class Mirror(ThreadingHTTPServer):
    daemon_threads = True
    seconds = 0.0
    sent = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[str] = []
        self.first: list[Callable[[Ranges], None]] = []
        """What becomes of the first requests."""

    @staticmethod
    def twist(data: bytes) -> bytes:
        return data

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_args: Any) -> None:
        """Whoever has enough hangs up."""


@contextmanager
def mirror(site: Path) -> Iterator[Mirror]:
    with Mirror(("127.0.0.1", 0), partial(Ranges, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Yard:
    """A publisher's key, a policy that trusts it, and a SITE that names some mirrors."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.site = folder, folder / "site"
        self.policy, self.store = folder / "policy.toml", folder / "store"
        self.key = folder / "publisher.key"
        assert main(["key", "new", str(self.key)]) == 0
        capsys.readouterr()
        main(["key", "show", str(self.key)])
        keyid = capsys.readouterr().out.strip()
        assert main(["policy", "--key", keyid]) == 0
        self.policy.write_text(capsys.readouterr().out)

    def publish(self, *mirrors: str) -> None:
        for name, data in FILES.items():
            (self.folder / name).write_bytes(data)
        words = [word for name in FILES for word in (f"--{name}", str(self.folder / name))]
        version = ["--channel", "stable", "--arch", "amd64", "--version", "2025.11.12"]
        where = ["--expires", "+30d", "--key", str(self.key), "--out", str(self.site)]
        named = [word for url in mirrors for word in ("--mirror", url)]
        assert main(["publish", *version, *words, *named, *where]) == 0

    def words(self, url: str) -> list[str]:
        journal = self.folder / "journal.jsonl"
        journal.unlink(missing_ok=True)
        told = ["--store", str(self.store), "--policy", str(self.policy)]
        return [PHASE_BOOT, "fetch", url, *told, "--journal", str(journal)]

    def fetch(self, url: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(url), text=True, capture_output=True, check=False, timeout=120
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / "journal.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def assert_filled(self) -> None:
        entries = {path.name: path.read_bytes() for path in (self.store / "cas/sha256").iterdir()}
        assert entries == {Digest.of(data).hex: data for data in FILES.values()}
        assert not list((self.store / "cas/tmp").iterdir())


@pytest.fixture
def yard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Yard:
    return Yard(tmp_path, capsys)


def test_a_store_is_filled_and_a_second_time_nothing_is_fetched(yard: Yard) -> None:
    yard.publish()
    with mirror(yard.site) as one:
        done = yard.fetch(one.url)
        assert done.returncode == 0, done.stderr
        yard.assert_filled()
        assert not yard.events("chunks.unknown")
        sent = one.sent
        assert yard.fetch(f"{one.url}/stable/amd64/manifest.json").returncode == 0
        assert {event["source"] for event in yard.events("fetch.done")} == {"store"}
        assert one.sent < sent + 100_000


def test_of_three_mirrors_one_lies_and_the_store_is_filled_all_the_same(yard: Yard) -> None:
    with mirror(yard.site) as one, mirror(yard.site) as two, mirror(yard.site) as liar:
        yard.publish(two.url, liar.url)
        for each in (one, two):
            each.seconds = 0.02
        liar.twist = lambda data: data[:9999] + b"lie" * 1000 + data[12999:]  # type: ignore[method-assign] # what it does
        done = yard.fetch(one.url)
        assert done.returncode == 0, done.stderr
        assert two.sent > 0
    yard.assert_filled()
    assert {event["source"] for event in yard.events("source.failed")} <= {liar.url}


def test_a_site_that_is_busy_at_first_is_asked_again_and_the_store_is_filled(yard: Yard) -> None:
    yard.publish()
    with mirror(yard.site) as one:
        # The HTTP library asks once more by itself where a connection is lost.
        one.first = [Ranges.reset, Ranges.reset, Ranges.busy, Ranges.busy]
        done = yard.fetch(one.url)
    assert done.returncode == 0, done.stderr
    yard.assert_filled()
    waits = yard.events("candidate.deferred")
    assert [event["failures"] for event in waits] == [1, 2, 3]
    assert all(event["seconds"] >= 1 for event in waits[1:])
    assert len(set(one.asked[:5])) == 1
    assert done.stderr.count("asked again in") == 3


def test_a_run_that_was_killed_goes_on_where_it_was(yard: Yard) -> None:
    yard.publish()
    with mirror(yard.site) as one:
        one.seconds = 0.05
        with subprocess.Popen(yard.words(one.url), stderr=subprocess.DEVNULL) as running:
            while one.sent < 3_000_000:
                assert running.poll() is None
                time.sleep(0.01)
            running.kill()
        assert not (yard.store / ENTRY).exists()
        one.seconds, one.sent = 0.0, 0
        done = yard.fetch(one.url)
        assert done.returncode == 0, done.stderr
        assert one.sent < 4_500_000
        (started,) = [e for e in yard.events("fetch.started") if e["artifact"] == "rootfs"]
        assert started["offset"] > 1_500_000
    yard.assert_filled()


def test_two_at_once_fill_one_store(yard: Yard) -> None:
    yard.publish()

    async def both(url: str) -> list[int]:
        words = yard.words(url)
        quiet = asyncio.subprocess.DEVNULL
        runs = [await asyncio.create_subprocess_exec(*words, stderr=quiet) for _ in range(2)]
        return [await run.wait() for run in runs]

    with mirror(yard.site) as one:
        one.seconds = 0.01
        assert asyncio.run(both(one.url)) == [0, 0]
    yard.assert_filled()


def test_what_is_not_signed_by_whom_the_policy_trusts_is_not_fetched(
    yard: Yard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    stranger = Yard(tmp_path / "other", capsys)
    stranger.publish()
    with mirror(stranger.site) as one:
        assert yard.fetch(one.url).returncode == 1
        assert one.sent < 100_000
    assert not (yard.store / "cas/sha256").exists()


def test_a_policy_that_keeps_nothing_is_said_to(
    yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "--mode", "private", "--key", "ed25519:" + "0" * 64]) == 0
    yard.policy.write_text(capsys.readouterr().out)
    done = yard.fetch("http://127.0.0.1:1")
    assert done.returncode == 2
    assert "stores nothing" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["http://h:0/os"], "'http://h:0/os' is not a usable URL: its port is 0"),
        (
            ["http://127.0.0.1:1", "--source", "ftp://h/"],
            "'ftp://h/' is not a usable URL: it does not",
        ),
        (["http://127.0.0.1:1", "--gateway", "http://h/?x"], "it has a query"),
    ],
)
def test_a_url_that_is_none_is_refused_before_anything_is_asked(
    yard: Yard, words: list[str], reason: str
) -> None:
    url, *more = words
    done = subprocess.run(
        [*yard.words(url), *more], text=True, capture_output=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert not (yard.store / "cas/sha256").exists()


def test_a_presigned_url_of_a_manifest_fills_a_store(yard: Yard) -> None:
    yard.publish()
    with mirror(yard.site) as one:
        done = yard.fetch(f"{one.url}/stable/amd64/manifest.json?X-Sig=a%2Fb")
        assert done.returncode == 0, done.stderr
    yard.assert_filled()
    assert {event["source"] for event in yard.events("fetch.done")} <= {
        one.url,
        f"{one.url}?X-Sig=a%2Fb",
    }
