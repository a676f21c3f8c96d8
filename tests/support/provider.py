"""A provider on loopback, and a client that sends given bytes unchanged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.digest import Digest
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS, document, signed
from phase_boot.journal.event import Event
from phase_boot.provider.backends.site_backend import SiteBackend
from phase_boot.provider.events import RequestAnswered
from phase_boot.provider.gateway.http_provider import HttpProvider, parse_public_url
from phase_boot.provider.gateway.upstream_records import UpstreamRecords
from phase_boot.provider.http.forwarded import NO_PROXIES, TrustedProxies
from phase_boot.provider.http.handlers import RequestHandler
from phase_boot.provider.http.server import ConnectionLimiter, make_server
from phase_boot.provider.http.services import Services
from phase_boot.provider.limits import Limits
from phase_boot.provider.receipt_store import ReceiptStore
from phase_boot.provider.swarm.tracker import Tracker
from phase_boot.store.layout import entry_path, kept_manifest_path
from tests.support.receipts import booted

MANIFEST: Final = "/stable/amd64/manifest.json"
ROOT: Final = "/root/1.json"
ROOT_BODY: Final = b'{"version": 1}\n'
"""A provider serves roots unverified; the client verifies them."""


def make_site(root: Path) -> Path:
    """Lay out a mirror of one version."""
    store = root / "cas" / "sha256"
    store.mkdir(parents=True)
    for data in (KERNEL, INITRAMFS, ROOTFS):
        (root / entry_path(Digest.of(data))).write_bytes(data)
    manifest = root / MANIFEST[1:]
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(signed(document()))
    (root / "root").mkdir()
    (root / ROOT[1:]).write_bytes(ROOT_BODY)
    return root


@dataclass
class Running:
    """A running provider and its events."""

    port: int
    events: list[Event] = field(default_factory=list)

    async def first_request(self) -> RequestAnswered:
        """Wait for the event of the first request."""
        async with asyncio.timeout(10):
            while not self.requests:  # noqa: ASYNC110 - the provider emits to a plain function
                await asyncio.sleep(0.02)
        return self.requests[0]

    @property
    def requests(self) -> list[RequestAnswered]:
        return [event for event in self.events if isinstance(event, RequestAnswered)]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@contextlib.asynccontextmanager
async def running(  # noqa: PLR0913 - the settings of a provider, most by keyword
    site: Path,
    limits: Limits | None = None,
    *,
    receipts: bool = True,
    public_url: str | None = None,
    proxies: TrustedProxies = NO_PROXIES,
    upstream: UpstreamRecords | None = None,
) -> AsyncIterator[Running]:
    """Serve ``site`` on a free port of the loopback."""
    limits = limits or Limits(grace_seconds=1)
    provider = Running(port=0)
    backend = SiteBackend(site)
    services = Services(
        receipts=ReceiptStore(site, limits) if receipts else None,
        tracker=Tracker(backend, limits),
        upstream=upstream,
        public_provider=HttpProvider(parse_public_url(public_url)) if public_url else None,
    )
    answers = RequestHandler(backend, limits, provider.events.append, services, proxies)
    server = make_server(answers, limits, provider.events.append)
    listener = await asyncio.get_running_loop().create_server(
        ConnectionLimiter(server, limits), "127.0.0.1", 0
    )
    provider.port = listener.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        listener.close()
        server.pre_shutdown()
        await server.shutdown(limits.grace_seconds)


@contextlib.asynccontextmanager
async def connected(
    port: int, source: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection from an address of the loopback, and close it at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def send(port: int, raw: bytes, source: str = "127.0.0.1") -> bytes:
    """Send bytes and return everything until the provider closes the connection."""
    async with connected(port, source) as (reader, writer), asyncio.timeout(10):
        writer.write(raw)
        return await reader.read()


async def ask(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """Send one request with the path unchanged, and read the response."""
    fields = {"Host": "x", "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    raw = await send(port, ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape"))
    return read_answer(raw)


async def post(
    port: int, path: str, body: bytes, *, method: str = "POST", source: str = "127.0.0.1"
) -> Answer:
    """Send one request with a body, and read the response."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    raw = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    return read_answer(await send(port, raw, source))


def read_answer(raw: bytes) -> Answer:
    """Parse a response."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return Answer(int(status.split()[1]), headers, body)


def with_history(root: Path) -> Path:
    """Store the manifest that the drill's receipts name, as publishing does."""
    known = booted()
    path = root / kept_manifest_path(known.channel, Arch.AMD64, known.manifest)
    path.parent.mkdir()
    path.write_bytes(signed(document()))
    return root
