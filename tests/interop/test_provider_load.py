"""64 downloads at once are complete, and the provider's memory stays bounded."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from phase_boot.content.digest import Digest
from phase_boot.store.layout import entry_path
from tests.support.process_memory import peak_rss
from tests.support.provider import make_site

pytestmark = pytest.mark.interop

CLIENTS: Final = 64
DATA: Final = os.urandom(1 << 20) * 24
MAX_RSS: Final = 100_000_000


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Run the real command and return its process id and port."""
    site = make_site(tmp_path / "site")
    (site / entry_path(Digest.of(DATA))).write_bytes(DATA)
    command = [sys.executable, "-m", "phase_boot.cli", "serve", str(site), "--port", "0"]
    command += ["--host", "127.0.0.1"]
    with (tmp_path / "events").open("w") as events:
        process = subprocess.Popen(command, stdout=events)
    try:
        yield process.pid, _port(tmp_path / "events")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    lines = (tmp_path / "events").read_text().splitlines()
    requests = [line for line in map(json.loads, lines) if line["event"].startswith("request")]
    assert sum(line["bytes"] for line in requests) == CLIENTS * len(DATA)
    assert {line.get("error") for line in requests} == {None}
    assert sum(line.get("errors", 0) for line in requests) == 0


def _port(events: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", events.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError("the provider did not start")


async def download(port: int, *, slow: bool) -> str:
    """Fetch the artifact and return its sha256; a slow client stops at every MiB for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    path = entry_path(Digest.of(DATA))
    writer.write(f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    digest, got = hashlib.sha256(), 0
    while chunk := await reader.read(1 << 20):
        digest.update(chunk)
        got += len(chunk)
        if slow and got % (1 << 20) < len(chunk):
            await asyncio.sleep(0.02)
    writer.close()
    await writer.wait_closed()
    return digest.hexdigest()


async def test_64_downloads_at_once(
    provider: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    pid, port = provider
    began = time.monotonic()
    digests = await asyncio.gather(*(download(port, slow=n % 4 == 0) for n in range(CLIENTS)))
    rate = CLIENTS * len(DATA) / (time.monotonic() - began) / 1e6
    rss = peak_rss(pid)
    with capsys.disabled():
        sys.stdout.write(f"\n{CLIENTS} downloads: {rss / 1e6:.1f} MB RSS, {rate:.0f} MB/s hashed\n")
    assert set(digests) == {Digest.of(DATA).hex}
    assert rss < MAX_RSS
