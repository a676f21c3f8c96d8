"""Floods of connections against the real command, from several addresses of the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from phase_boot.content.digest import Digest
from phase_boot.provider.limits import Limits
from phase_boot.store.layout import entry_path
from tests.support.process_memory import peak_rss
from tests.support.provider import connected, make_site, read_answer, send

pytestmark = pytest.mark.interop

DATA: Final = os.urandom(1 << 18)
PATH: Final = f"/{entry_path(Digest.of(DATA))}"
REQUEST: Final = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
FLOODER, HONEST, CLASSROOM = "127.0.0.2", "127.0.0.7", "127.0.0.8"
CONNECTIONS: Final = 600
MACHINES, LANES = 60, 6
ATTEMPTS: Final = 5
"""A slow machine may be taken for an idle one; it is served at its next request."""
MAX_RSS: Final = 120_000_000


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Run the real command and return its process id and port."""
    site = make_site(tmp_path / "site")
    (site / PATH[1:]).write_bytes(DATA)
    command = [sys.executable, "-m", "phase_boot.cli", "serve", str(site), "--port", "0"]
    with (tmp_path / "events").open("w") as events:
        process = subprocess.Popen([*command, "--host", "127.0.0.1"], stdout=events)
    try:
        yield process.pid, _port(tmp_path / "events")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def _port(events: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", events.read_text()):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError("the provider did not start")


@contextlib.asynccontextmanager
async def flood(port: int, payload: bytes, *sources: str) -> AsyncIterator[None]:
    """Hold 600 connections in all from these addresses, each after saying something."""
    async with contextlib.AsyncExitStack() as held:
        for number in range(CONNECTIONS):
            source = sources[number % len(sources)]
            _, writer = await held.enter_async_context(connected(port, source))
            with contextlib.suppress(ConnectionError):
                writer.write(payload)
        yield


async def download(port: int, source: str) -> bytes:
    """Fetch the artifact, and ask again where the connection was closed, as every machine does."""
    for _ in range(ATTEMPTS):
        with contextlib.suppress(ConnectionError):
            answer = await send(port, REQUEST, source)
            if answer:
                return read_answer(answer).body
    raise AssertionError(f"{source} was not served in {ATTEMPTS} attempts")


@pytest.mark.parametrize(
    "payload",
    [b"", b"GET / HTTP/1.1\r\nHost:", REQUEST.replace(b"close", b"keep-alive")],
    ids=["silent", "half a request", "an answer that is not read"],
)
@pytest.mark.parametrize("addresses", [1, 5])
async def test_600_connections_do_not_keep_another_address_out(
    provider: tuple[int, int], payload: bytes, addresses: int
) -> None:
    _, port = provider
    sources = [f"127.0.0.{2 + number}" for number in range(addresses)]
    async with flood(port, payload, *sources):
        for _ in range(3):
            assert await download(port, HONEST) == DATA


async def test_many_clients_behind_one_address_are_served_during_a_flood(
    provider: tuple[int, int],
) -> None:
    _, port = provider
    async with flood(port, b"", FLOODER):
        await asyncio.sleep(2 * Limits().unused_seconds)
        lanes = (download(port, CLASSROOM) for _ in range(MACHINES * LANES))
        assert all(body == DATA for body in await asyncio.gather(*lanes))


async def test_many_pipelined_requests_take_no_memory(provider: tuple[int, int]) -> None:
    pid, port = provider
    request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with contextlib.AsyncExitStack() as held:
        for _ in range(4):
            _, writer = await held.enter_async_context(connected(port, FLOODER))
            held.callback(writer.transport.abort)
            writer.write(request * 20_000)
        assert await download(port, HONEST) == DATA
        await asyncio.sleep(1)
        assert await download(port, HONEST) == DATA
        assert peak_rss(pid) < MAX_RSS
