"""The wait before an automatic retry: it ends by a person, the end of the pause, or the network."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from phase_boot.journal.network_events import DiscoveryFailed
from phase_boot.journal.run_events import RetryEarly, RetryStopped
from phase_boot.machine.boot import BootContext
from phase_boot.machine.errors import BehindPortal, NothingFound
from phase_boot.machine.handler import Ports
from phase_boot.machine.retries import MIN_PAUSE_SECONDS
from phase_boot.ports import finder as port
from phase_boot.ports.network import reach_of
from phase_boot.ports.operator import Answer, Report

FOLLOWED: Final = frozenset({NothingFound.__name__, BehindPortal.__name__})
"""Failures of Discover, which has searched after every change of the network until its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The pause before the next attempt.

    Attributes:
        seconds: its duration.
        query: what a new provider on this network must offer; None searches for none.
        network: whether a new reachable network ends it.
    """

    seconds: float
    query: port.DiscoveryQuery | None = None
    network: bool = False


class RetryDue(Exception):
    """The pause ended without a pressed key.

    Attributes:
        early: whether a change of the network ended it.
    """

    def __init__(self, *, early: bool) -> None:
        super().__init__("the next attempt is due")
        self.early = early


async def answer_or_retry(ports: Ports, boot: BootContext, report: Report, pause: Pause) -> Answer:
    """Return the answer of a person; the first pressed key cancels the automatic retry.

    Raises:
        RetryDue: the pause is over and no key was pressed.
    """
    asking = asyncio.create_task(ports.operator.ask(report), name="the operator")
    watching = asyncio.create_task(_key_pressed(ports), name="the keyboard")
    waiting = asyncio.create_task(_news(ports, boot, pause), name="the pause")
    tasks: tuple[asyncio.Task[Any], ...] = (asking, watching, waiting)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
        if watching.done():
            await _ended((waiting,))
            ports.emit(RetryStopped())
            return await asking
        news = waiting.result()
        if news is not None:
            ports.emit(RetryEarly(reason=news))
        raise RetryDue(early=news is not None)
    finally:
        await _ended(tasks)


async def _key_pressed(ports: Ports) -> None:
    try:
        await ports.operator.touched()
    except Exception:  # noqa: BLE001 - a machine without a usable keyboard is unattended
        await asyncio.Event().wait()


async def _news(ports: Ports, boot: BootContext, pause: Pause) -> str | None:
    """Return the first change of the network during the pause, or None at its end."""
    loop = asyncio.get_running_loop()
    due = loop.time() + pause.seconds
    searches = {
        asyncio.create_task(look, name="news") for look in _news_sources(ports, boot, pause)
    }
    try:
        await asyncio.sleep(min(MIN_PAUSE_SECONDS, pause.seconds))
        while searches and (left := due - loop.time()) > 0:
            done, searches = await asyncio.wait(
                searches, timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
            found = [look.result() for look in done if look.exception() is None]
            if news := next(filter(None, found), None):
                return news
        await asyncio.sleep(max(0.0, due - loop.time()))
        return None
    finally:
        await _ended(searches)


def _news_sources(
    ports: Ports, boot: BootContext, pause: Pause
) -> Iterator[Coroutine[Any, Any, str | None]]:
    if pause.network:
        yield _network(ports, boot)
    if pause.query is not None:
        query = replace(pause.query, seconds=pause.seconds)
        for finder in ports.finders:
            yield _provider(ports, boot, finder, query)


async def _network(ports: Ports, boot: BootContext) -> str | None:
    """Return the first network that this attempt could not reach."""
    known = boot.reach
    searched = boot.failure is not None and boot.failure.name in FOLLOWED
    async with aclosing(ports.network.changes()) as snapshots:
        async for links in snapshots:
            if searched:
                known, searched = known | reach_of(links), False
            for link in links:
                if reach_of([link]) - known:
                    return f"{link.interface} has {', '.join(link.addresses)}"
    return None


async def _provider(
    ports: Ports, boot: BootContext, finder: port.Finder, query: port.DiscoveryQuery
) -> str | None:
    """Return the first provider on a host that has not failed in this attempt."""
    known = boot.rejected_urls | {each.candidate.url for each in boot.deferred}
    hosts = {port.host_of(url) for url in known}
    try:
        if finder.kind != port.LAN:
            return None
        async with aclosing(finder.find(query)) as candidates:
            async for candidate in candidates:
                if not isinstance(candidate, port.Candidate):
                    continue
                is_banned = port.server_of(candidate.url) in boot.banned_origins
                if port.host_of(candidate.url) not in hosts and not is_banned:
                    return f"{candidate.url} has turned up"
    except port.FinderFailed as failure:
        ports.emit(DiscoveryFailed(finder=port.LAN, reason=str(failure)))
    except Exception as fault:  # noqa: BLE001 - a finder's fault must not end the pause
        reason = f"it has a fault: {type(fault).__name__}: {fault}"
        ports.emit(DiscoveryFailed(finder=port.LAN, reason=reason))
    return None


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    every = tuple(tasks)
    for task in every:
        task.cancel()
    await asyncio.gather(*every, return_exceptions=True)
