"""A mirror over real HTTP, and a publisher whose policy `phase-boot fetch` follows."""

from __future__ import annotations

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

from phase_boot.cli.main import main
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_kernel import bzimage
from phase_boot.handoff.cpio import Entry, archive
from phase_boot.provider.http.ranges import parse_range

PHASE_BOOT = str(Path(sys.executable).parent / "phase-boot")
ROOTFS = random.Random(7).randbytes(6_000_000)  # noqa: S311 - the same bytes every time
FILES = {
    "kernel": bzimage(b"kernel"),
    "initramfs": archive([Entry.file("init", b"070701" * 900)]),
    "rootfs": ROOTFS,
}
ENTRY = f"cas/sha256/{Digest.of(ROOTFS).hex}"


class Ranges(SimpleHTTPRequestHandler):
    """Serves files and ranges at the server's rate, and counts the bytes."""

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
        data = self.server.tamper(file.read_bytes()) if ENTRY in self.path else file.read_bytes()
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
        """Handlers of the first requests, in order."""

    @staticmethod
    def tamper(data: bytes) -> bytes:
        return data

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_args: Any) -> None:
        """Ignore clients that disconnect."""


@contextmanager
def mirror(site: Path) -> Iterator[Mirror]:
    with Mirror(("127.0.0.1", 0), partial(Ranges, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class FetchEnvironment:
    """A publisher's key, a policy that trusts it, and a SITE with mirrors."""

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
        options = ["--store", str(self.store), "--policy", str(self.policy)]
        return [PHASE_BOOT, "fetch", url, *options, "--journal", str(journal)]

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
