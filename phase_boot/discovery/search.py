"""Searches with all finders concurrently; the time window restarts when the network grows.

Each finder runs in its own task, so a finder that fails, hangs or never ends delays no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from phase_boot.journal.event import Event
from phase_boot.journal.network_events import DiscoveryFailed, ReplyIgnored
from phase_boot.ports.finder import (
    MAX_REASONS,
    WAN,
    Candidate,
    DiscoveryQuery,
    Finder,
    FinderFailed,
)
from phase_boot.ports.network import Link, Network, reach_of

DHT_SECONDS: Final = 35.0
"""Longest look-up in the DHT with a slow start of its process, once its delay has passed."""
MAX_RESTARTS: Final = 8
"""Restarts of the window in one boot, so that a flapping link cannot extend it for ever."""
SNAPSHOT_SECONDS: Final = 2.0
"""Seconds to wait for the first snapshot of the links."""
STOP_SECONDS: Final = 5.0
"""Seconds to wait for cancelled finders."""
MAX_REASON: Final = 200
"""Characters kept of a reason."""
MAX_QUEUED: Final = 64
"""Queued candidates; finders wait while the queue is full."""


class NetworkWatch:
    """Follows the usable links while a state runs, and when they last gained a network."""

    def __init__(
        self,
        network: Network,
        *,
        reach: frozenset[tuple[str, str]] = frozenset(),
        since: float | None = None,
        restarts: int = 0,
    ) -> None:
        """Continue an earlier watch of this boot.

        Args:
            network: the port that reports the links.
            reach: the networks that the earlier watch knew.
            since: the event loop's time when they last grew; None means now.
            restarts: how often the window was restarted.
        """
        self._network = network
        self._grown = asyncio.Event()
        self._first = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.links: tuple[Link, ...] | None = None
        """The latest snapshot; None before the first."""
        self.reach = reach
        self.restarts = restarts
        self.since = asyncio.get_running_loop().time() if since is None else since

    async def __aenter__(self) -> Self:
        """Start to follow the links; return after the first snapshot or `SNAPSHOT_SECONDS`."""
        self._task = asyncio.create_task(self._follow(), name="the links")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(SNAPSHOT_SECONDS):
                    await self._first.wait()
        except BaseException:
            await _stop({self._task})
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop following the links."""
        if self._task is not None:
            await _stop({self._task})

    async def grows(self, until: float) -> bool:
        """Wait until the network grows after the last `has_grown`, at most until a loop time.

        Returns whether it has grown.
        """
        try:
            async with asyncio.timeout_at(until):
                await self._grown.wait()
        except TimeoutError:
            return False
        return True

    def has_grown(self) -> bool:
        """Return whether the network has grown since the last call."""
        grown = self._grown.is_set()
        self._grown.clear()
        return grown

    async def _follow(self) -> None:
        try:
            async with aclosing(self._network.changes()) as snapshots:
                async for links in snapshots:
                    self._take(links)
        except Exception:  # noqa: BLE001 - without notifications a search lasts one window
            return
        finally:
            self._first.set()

    def _take(self, links: tuple[Link, ...]) -> None:
        # A network that was lost and comes back counts as new.
        reach = reach_of(links)
        if reach - self.reach and self.restarts < MAX_RESTARTS:
            self.restarts += 1
            self.since = asyncio.get_running_loop().time()
            self._grown.set()
        self.links, self.reach = links, reach
        self._first.set()


async def search(
    finders: Iterable[Finder],
    query: DiscoveryQuery,
    *,
    emit: Callable[[Event], None],
    watch: NetworkWatch | None = None,
) -> AsyncGenerator[Candidate, None]:
    """Yield the candidates of all finders for `query.seconds`.

    With a ``watch`` the window restarts whenever the network grows. A finder that fails becomes an
    event; the other finders continue.
    """
    began = asyncio.get_running_loop().time()
    finders = tuple(finders)
    query = replace(query, seconds=_seconds(finders, query))
    longest = query.seconds * (1 + MAX_RESTARTS if watch else 1)
    found = asyncio.Queue[Candidate | None](MAX_QUEUED)
    wanted = replace(query, seconds=longest)
    kinds = [(finder, finder.kind) for finder in finders]
    searching = {
        asyncio.create_task(_run_finder(finder, kind, wanted, found, emit), name=f"finder {kind}")
        for finder, kind in kinds
    }
    ending = asyncio.create_task(_mark_end(searching, found), name="finders")
    try:
        while True:
            window = max(began, watch.since if watch else began) + query.seconds
            try:
                async with asyncio.timeout_at(window):
                    candidate = await found.get()
            except TimeoutError:
                if watch is None or watch.since + query.seconds <= window:
                    return
                continue
            if candidate is None:
                return
            yield candidate
    finally:
        await _stop({ending, *searching})


def _seconds(finders: Iterable[Finder], query: DiscoveryQuery) -> float:
    """Return the duration of a search: a look-up in the DHT that has begun is waited for.

    It ends by itself, on most machines before any window. On a slow one its process starts late.
    """
    records = query.records
    if records is None or not records.bootstrap or not any(each.kind == WAN for each in finders):
        return query.seconds
    return max(query.seconds, records.dht_delay + DHT_SECONDS)


async def _run_finder(
    finder: Finder,
    kind: str,
    query: DiscoveryQuery,
    found: asyncio.Queue[Candidate | None],
    emit: Callable[[Event], None],
) -> None:
    reasons = set[str]()
    try:
        async with aclosing(finder.find(query)) as candidates:
            async for each in candidates:
                if isinstance(each, Candidate):
                    await found.put(each)
                elif len(reasons) < MAX_REASONS and each.reason not in reasons:
                    reasons.add(each.reason)
                    emit(ReplyIgnored(finder=kind, reason=each.reason[:MAX_REASON]))
    except FinderFailed as failure:
        emit(DiscoveryFailed(finder=kind, reason=str(failure)))
    except Exception as fault:  # noqa: BLE001 - of a plugin; the other finders continue
        reason = f"it has a fault: {type(fault).__name__}: {fault}"
        emit(DiscoveryFailed(finder=kind, reason=reason))


async def _mark_end(
    searching: Iterable[asyncio.Task[None]], found: asyncio.Queue[Candidate | None]
) -> None:
    """Put None into the queue after every finder has ended."""
    for task in searching:
        await asyncio.wait({task})
    await found.put(None)


async def _stop(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait at most `STOP_SECONDS` for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=STOP_SECONDS)
