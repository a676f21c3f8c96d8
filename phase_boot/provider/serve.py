"""A provider from start to stop: serve at once, announce as soon as may be, leave politely."""

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
from phase_boot.provider.answers import Answers
from phase_boot.provider.door import Door, make_server
from phase_boot.provider.errors import ProvideError
from phase_boot.provider.events import AnnounceFailed, NothingOffered, Started, Stopped, Tell
from phase_boot.provider.files import Goods, SiteGoods
from phase_boot.provider.kept import StoreGoods
from phase_boot.provider.limits import Limits
from phase_boot.provider.links import host_label, links
from phase_boot.provider.listen import listen
from phase_boot.provider.peers import Noticeboard
from phase_boot.provider.receipts import Receipts
from phase_boot.provider.request_log import RequestLog
from phase_boot.url import Url

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to serve, and where."""

    folder: Path
    kept: bool = False
    """Whether ``folder`` is the store of a machine that boots, instead of a SITE."""
    port: int
    host: str | None = None
    interface: str | None = None
    announce: bool = True
    receipts: bool = True
    """Whether booted machines may hand in what they ran."""
    limits: Limits = field(default_factory=Limits)


async def serve(settings: Settings, tell: Tell) -> None:
    """Serve a SITE or a store until SIGTERM or SIGINT; a second one ends it on the spot.

    Raises:
        ProvideError: there is no such folder, or the port cannot be opened.
    """
    if not settings.folder.is_dir():
        made = "phase-boot daemon --store" if settings.kept else "phase-boot publish"
        raise ProvideError(f"{settings.folder} is no folder: make one with `{made}`.")
    stop = _stop_signal()
    sockets = listen(port=settings.port, host=settings.host, interface=settings.interface)
    port: int = sockets[0].getsockname()[1]
    log = RequestLog(tell, settings.limits)
    try:
        async with _answering(settings, sockets, log), _announcing(settings, port, tell):
            await stop.wait()
    finally:
        log.close()
    tell(Stopped())


def _way_out(settings: Settings) -> str:
    if settings.kept:
        return "fetch a version with `phase-boot fetch --store`, and it is served at once"
    return "add a version with `phase-boot publish --out`, and it is served at once"


def _goods(settings: Settings) -> Goods:
    return StoreGoods(settings.folder) if settings.kept else SiteGoods(settings.folder)


def _stop_signal() -> asyncio.Event:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def ordered() -> None:
        stop.set()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, ordered)
    return stop


@contextlib.asynccontextmanager
async def _answering(
    settings: Settings, sockets: Sequence[socket.socket], tell: Tell
) -> AsyncIterator[None]:
    limits = settings.limits
    takes = settings.receipts and not settings.kept
    receipts = Receipts(settings.folder, limits) if takes else None
    goods = _goods(settings)
    board = Noticeboard(goods, limits)
    answers = Answers(goods, limits, tell, receipts=receipts, board=board)
    server = make_server(answers, limits, tell)
    loop = asyncio.get_running_loop()
    listeners = [await loop.create_server(Door(server, limits), sock=one) for one in sockets]
    addresses = (one.getsockname() for one in sockets)
    urls = tuple(f"{Url('http', host, port).origin}/" for host, port, *_ in addresses)
    tell(Started(site=str(settings.folder), urls=urls))
    if not await asyncio.to_thread(goods.offers):
        tell(NothingOffered(site=str(settings.folder), way_out=_way_out(settings)))
    try:
        yield
    finally:
        for listener in listeners:
            listener.close()
        server.pre_shutdown()
        await server.shutdown(limits.grace_seconds)


@contextlib.asynccontextmanager
async def _announcing(settings: Settings, port: int, tell: Tell) -> AsyncIterator[None]:
    if not settings.announce:
        yield
        return
    task = asyncio.create_task(_announce(settings, port, tell))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _announce(settings: Settings, port: int, tell: Tell) -> None:
    announcer = Announcer(host=host_label(), port=port, tell=tell)
    try:
        await announcer.run(
            functools.partial(links, interface=settings.interface, host=settings.host),
            _goods(settings).offers,
        )
    except Exception as error:  # noqa: BLE001 - serving goes on, whatever is wrong with mDNS
        tell(AnnounceFailed(interface="", reason=f"{type(error).__name__}: {error}"))
