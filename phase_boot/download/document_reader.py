"""Reads a small document from one source, with retries where the failure is temporary.

`phase-boot fetch` reads the root and the manifest of one mirror with it. The rules are those by
which a boot defers a candidate (`machine.deferral`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import random

from phase_boot.journal.event import Event
from phase_boot.journal.network_events import CandidateDeferred
from phase_boot.machine.deferral import PATIENCE_SECONDS, Deferred, patience
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentReader:
    """Reads documents of one source.

    Attributes:
        read: requests a URL once; raises `FetchFailed`.
        attempts: largest number of requests for one document.
        chance: returns a random number from 0 up to 1, for jitter.
    """

    read: Callable[[str], Awaitable[bytes]]
    clock: Clock
    attempts: int
    emit: Callable[[Event], None]
    chance: Callable[[], float] = field(default=random)

    async def document(self, url: str) -> bytes:
        """Return the document at ``url``.

        Raises:
            FetchFailed: it is unavailable, or was not sent within the attempts and
                `PATIENCE_SECONDS`.
        """
        entry = Deferred.new(Candidate(url=url, finder="url"), self.clock.monotonic())
        while True:
            result = await self._request(entry)
            if isinstance(result, bytes):
                return result
            now = self.clock.monotonic()
            entry = entry.after(result, now=now, chance=self.chance())
            if not result.retryable:
                raise result
            if entry.failures >= self.attempts or not entry.patient:
                raise FetchFailed(_gave_up(entry, now), retryable=True) from result
            pause = entry.due - now
            self.emit(
                CandidateDeferred(
                    url=url, reason=entry.reason, failures=entry.failures, seconds=pause
                )
            )
            await self.clock.sleep(pause)

    async def _request(self, entry: Deferred) -> bytes | FetchFailed:
        """Request the document once; return it, or the failure."""
        url, left = entry.candidate.url, patience(entry, self.clock.monotonic())
        try:
            async with asyncio.timeout(left):
                return await self.read(url)
        except FetchFailed as failure:
            return failure
        except TimeoutError:
            return FetchFailed(f"it took more than {PATIENCE_SECONDS:g} seconds", retryable=True)


def _gave_up(entry: Deferred, now: float) -> str:
    if entry.asked:
        return (
            f"{entry.reason} and asks to be left alone for {entry.due - now:.0f} seconds; "
            "try again then"
        )
    times = "once" if entry.failures == 1 else f"{entry.failures} times"
    return f"{entry.reason} (asked {times}); try again later, or name another mirror"
