"""Composition root of the provider: serve, announce by mDNS, stop gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from phase_boot.provider.announce import Announcer
from phase_boot.provider.backends.backend import Backend
from phase_boot.provider.backends.site_backend import SiteBackend
from phase_boot.provider.backends.store_backend import StoreBackend
from phase_boot.provider.errors import ProvideError
from phase_boot.provider.events import AnnounceFailed, Emit, NothingOffered, Started, Stopped
from phase_boot.provider.gateway.http_provider import HttpProvider
from phase_boot.provider.gateway.upstream_records import UpstreamRecords
from phase_boot.provider.http.forwarded import NO_PROXIES, TrustedProxies
from phase_boot.provider.http.handlers import RequestHandler
from phase_boot.provider.http.request_log import RequestLog
from phase_boot.provider.http.server import ConnectionLimiter, make_server
from phase_boot.provider.http.services import Services
from phase_boot.provider.interfaces import find_interfaces, host_label
from phase_boot.provider.limits import Limits
from phase_boot.provider.listen import listen
from phase_boot.provider.receipt_store import ReceiptStore
from phase_boot.provider.swarm.tracker import Tracker
from phase_boot.url import Url

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a provider."""

    folder: Path
    from_store: bool = False
    """Whether ``folder`` is a store instead of a SITE."""
    port: int
    host: str | None = None
    interface: str | None = None
    announce: bool = True
    receipts: bool = True
    """Whether receipts of booted machines are accepted."""
    public_url: Url | None = None
    """The reverse proxy at which IPFS nodes reach this provider; see `parse_public_url`."""
    upstream: UpstreamRecords | None = None
    """Routers that are asked for newer records than those of the folder."""
    proxies: TrustedProxies = NO_PROXIES
    """Reverse proxies whose word about a client's address counts."""
    limits: Limits = field(default_factory=Limits)


async def serve(settings: Settings, emit: Emit) -> None:
    """Serve a SITE or a store until SIGTERM or SIGINT; a second signal ends it at once.

    Raises:
        ProvideError: the folder does not exist, or the port cannot be opened.
    """
    if not settings.folder.is_dir():
        command = "phase-boot daemon --store" if settings.from_store else "phase-boot publish"
        raise ProvideError(f"{settings.folder} is not a folder: create one with `{command}`.")
    stop = _stop_signal()
    sockets = listen(port=settings.port, host=settings.host, interface=settings.interface)
    port: int = sockets[0].getsockname()[1]
    log = RequestLog(emit, settings.limits)
    try:
        async with _serving(settings, sockets, log), _announcing(settings, port, emit):
            await stop.wait()
    finally:
        log.close()
    emit(Stopped())


def _way_out(settings: Settings) -> str:
    if settings.from_store:
        return "fetch a version with `phase-boot fetch --store`, and it is served at once"
    return "add a version with `phase-boot publish --out`, and it is served at once"


def _backend(settings: Settings) -> Backend:
    return StoreBackend(settings.folder) if settings.from_store else SiteBackend(settings.folder)


def _stop_signal() -> asyncio.Event:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal() -> None:
        stop.set()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    return stop


@contextlib.asynccontextmanager
async def _serving(
    settings: Settings, sockets: Sequence[socket.socket], emit: Emit
) -> AsyncIterator[None]:
    limits = settings.limits
    accepts_receipts = settings.receipts and not settings.from_store
    backend = _backend(settings)
    services = Services(
        receipts=ReceiptStore(settings.folder, limits) if accepts_receipts else None,
        tracker=Tracker(backend, limits),
        upstream=settings.upstream,
        public_provider=HttpProvider(settings.public_url) if settings.public_url else None,
    )
    handler = RequestHandler(backend, limits, emit, services, settings.proxies)
    server = make_server(handler, limits, emit)
    loop = asyncio.get_running_loop()
    listeners = [
        await loop.create_server(ConnectionLimiter(server, limits), sock=sock) for sock in sockets
    ]
    addresses = (sock.getsockname() for sock in sockets)
    urls = tuple(f"{Url('http', host, port).origin}/" for host, port, *_ in addresses)
    emit(Started(site=str(settings.folder), urls=urls))
    if not await asyncio.to_thread(backend.offers):
        emit(NothingOffered(site=str(settings.folder), way_out=_way_out(settings)))
    try:
        yield
    finally:
        for listener in listeners:
            listener.close()
        server.pre_shutdown()
        await server.shutdown(limits.grace_seconds)


@contextlib.asynccontextmanager
async def _announcing(settings: Settings, port: int, emit: Emit) -> AsyncIterator[None]:
    if not settings.announce:
        yield
        return
    task = asyncio.create_task(_announce(settings, port, emit))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _announce(settings: Settings, port: int, emit: Emit) -> None:
    announcer = Announcer(host=host_label(), port=port, emit=emit)
    try:
        await announcer.run(
            functools.partial(find_interfaces, interface=settings.interface, host=settings.host),
            _backend(settings).offers,
        )
    except Exception as error:  # noqa: BLE001 - a failure of mDNS must not stop the server
        emit(AnnounceFailed(interface="", reason=f"{type(error).__name__}: {error}"))
