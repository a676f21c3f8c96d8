"""A document that one source alone is asked for: again, where its failure may pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import random

from phase_boot.machine.deferral import PATIENCE_SECONDS, Deferred, patience
from phase_boot.machine.events import Event
from phase_boot.machine.retry_events import CandidateDeferred
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentReader:
    """Reads documents by the rules that candidates of a boot are asked again by.

    Attributes:
        read: asks for a URL once; it raises `FetchFailed`.
        attempts: the policy's number of requests to one source for one document.
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
            FetchFailed: it is not to be had, or not within `attempts` and `PATIENCE_SECONDS`.
        """
        entry = Deferred.new(Candidate(url=url, origin="url"), self.clock.monotonic())
        while True:
            answer = await self._ask(entry)
            if isinstance(answer, bytes):
                return answer
            now = self.clock.monotonic()
            entry = entry.after(answer, now=now, chance=self.chance())
            if not answer.retryable:
                raise answer
            if entry.failures >= self.attempts or not entry.patient:
                raise FetchFailed(_gave_up(entry, now), retryable=True) from answer
            pause = entry.due - now
            self.emit(
                CandidateDeferred(
                    url=url, reason=entry.reason, failures=entry.failures, seconds=pause
                )
            )
            await self.clock.sleep(pause)

    async def _ask(self, entry: Deferred) -> bytes | FetchFailed:
        """Ask once, and return the document or why it did not come."""
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
