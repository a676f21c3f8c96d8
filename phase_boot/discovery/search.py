"""Search with several finders at once, within a window that begins again when the network grows.

Each finder runs in a task of its own: one that fails, hangs or never ends costs the others nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from phase_boot.journal.event import Event
from phase_boot.journal.network_events import DiscoveryFailed, FinderIgnored
from phase_boot.ports.finder import Candidate, DiscoveryQuery, Finder, FinderFailed
from phase_boot.ports.network import Link, Network, reach_of

MAX_RESTARTS: Final = 8
"""How often one boot begins a window again, however often a cable moves or a router advertises."""
SNAPSHOT_SECONDS: Final = 2.0
"""How long the first snapshot of the links is waited for."""
STOP_SECONDS: Final = 5.0
"""How long finders that are told to stop are waited for."""
MAX_REASONS: Final = 8
"""Reasons of one search by which a finder says that it passed something over."""
MAX_REASON: Final = 200
"""Characters of one."""
MAX_QUEUED: Final = 64
"""Candidates that wait to be looked at; a finder that has more waits."""


class NetworkWatch:
    """The usable links while a state runs, and when they last led somewhere new."""

    def __init__(
        self,
        network: Network,
        *,
        reach: frozenset[tuple[str, str]] = frozenset(),
        since: float | None = None,
        restarts: int = 0,
    ) -> None:
        """Go on from what an earlier watch of this boot left: ``reach``, ``since``, ``restarts``.

        ``since`` is a time of the event loop; None counts from now.
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
        """Begin to follow the links, and return once the first snapshot is there or late."""
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
        """Stop following."""
        if self._task is not None:
            await _stop({self._task})

    async def grows(self, until: float) -> bool:
        """Wait until the network has grown since `has_grown` was asked, or until that time.

        Returns whether it has.
        """
        try:
            async with asyncio.timeout_at(until):
                await self._grown.wait()
        except TimeoutError:
            return False
        return True

    def has_grown(self) -> bool:
        """Say whether the network has grown since the last call."""
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
        # What was lost and comes back is new again.
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
    """Yield what the finders find, all of them at once, for `query.seconds`.

    With a ``watch`` the window begins again whenever the network grows. A finder that fails is
    told to ``emit``; the others go on.
    """
    began = asyncio.get_running_loop().time()
    longest = query.seconds * (1 + MAX_RESTARTS if watch else 1)
    found = asyncio.Queue[Candidate | None](MAX_QUEUED)
    wanted = replace(query, seconds=longest)
    named = [(finder, finder.origin) for finder in finders]
    asking = {
        asyncio.create_task(_ask(finder, origin, wanted, found, emit), name=f"finder {origin}")
        for finder, origin in named
    }
    ending = asyncio.create_task(_end(asking, found), name="finders")
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
        await _stop({ending, *asking})


async def _ask(
    finder: Finder,
    origin: str,
    query: DiscoveryQuery,
    found: asyncio.Queue[Candidate | None],
    emit: Callable[[Event], None],
) -> None:
    told = set[str]()
    try:
        async with aclosing(finder.find(query)) as candidates:
            async for each in candidates:
                if isinstance(each, Candidate):
                    await found.put(each)
                elif len(told) < MAX_REASONS and each.reason not in told:
                    told.add(each.reason)
                    emit(FinderIgnored(origin=origin, reason=each.reason[:MAX_REASON]))
    except FinderFailed as failure:
        emit(DiscoveryFailed(origin=origin, reason=str(failure)))
    except Exception as fault:  # noqa: BLE001 - a plugin's; the other finders go on
        reason = f"it has a fault: {type(fault).__name__}: {fault}"
        emit(DiscoveryFailed(origin=origin, reason=reason))


async def _end(
    asking: Iterable[asyncio.Task[None]], found: asyncio.Queue[Candidate | None]
) -> None:
    """Mark the end of what is found once every finder has ended."""
    for task in asking:
        await asyncio.wait({task})
    await found.put(None)


async def _stop(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for their end; one that takes no notice is left."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=STOP_SECONDS)
