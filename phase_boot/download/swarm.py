"""An artifact from several sources at once: more from the faster, nothing more from who lies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any, Final

from phase_boot.download.context import ArtifactUnavailable, DownloadContext
from phase_boot.download.events import SourceServed
from phase_boot.download.rate import (
    ASSUMED_RATE,
    FIRST_BYTE_SECONDS,
    KIB,
    PROGRESS_SECONDS,
    RATE_SECONDS,
    MinRateCheck,
    RateMeter,
)
from phase_boot.download.scheduler import Assignment, ChunkScheduler
from phase_boot.download.source import Source
from phase_boot.machine.events import FetchProgress, FetchStarted, SourceFailed
from phase_boot.ports.fetcher import Buffer, FetchFailed, RangesUnsupported
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.errors import ContentMismatch

FIRST_SPAN: Final = ASSUMED_RATE
"""What a source is asked for before it is known how fast it is."""
MIN_SPAN: Final = 128 * KIB
MAX_SPAN: Final = 64 * KIB * KIB
SPAN_SECONDS: Final = 4.0
"""A span takes its source so long, so that a question costs little and a failure not much."""
POLL_SECONDS: Final = 1.0
IDLE_POLL_SECONDS: Final = 0.1
"""After so long somebody who found nothing to do looks again."""
IDLE_POLLS: Final = 100
SLOW_POLL_SECONDS: Final = 2.0
"""After so many looks at nothing new it is so long."""


class Swarm:
    """Fills a mosaic from sources, which may come to it while it runs."""

    def __init__(self, context: DownloadContext, mosaic: ChunkWriter) -> None:
        """Take what to fill."""
        self._context = context
        self._mosaic = mosaic
        self._scheduler = ChunkScheduler(mosaic.chunks, mosaic.have)
        self._meters: dict[Source, RateMeter] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._total = RateMeter(context.clock.monotonic())
        self._last_progress = context.clock.monotonic()
        self._changed = asyncio.Event()
        self._idle_polls = 0
        self._finished = asyncio.Event()
        self._stopped = False
        self.active: set[Source] = set()
        """Who is being asked, or waits for something to be asked for."""
        self.without_ranges: list[str] = []
        """Sources that send files only as a whole."""
        self.failures: list[str] = []
        """Why each source that failed did."""

    @property
    def bytes_by_source(self) -> Counter[str]:
        """Bytes that were right, by the names of the sources."""
        totals: Counter[str] = Counter()
        for source, meter in self._meters.items():
            totals[source.name] += meter.total
        return totals

    async def run(self, sources: Iterable[Source]) -> None:
        """Return when every chunk is here.

        Raises:
            ArtifactUnavailable: no source is left.
            StoreError: it cannot be kept here.
        """
        hashing = asyncio.create_task(self._hash_in_background())
        whole = asyncio.create_task(self._finished.wait())
        began = self._context.clock.monotonic()
        try:
            for source in sources:
                self.add(source)
            while self._workers and not self._mosaic.complete:
                waiting = {whole, *self._workers}
                # Not for ever: others may have come to it.
                done, _ = await asyncio.wait(
                    waiting, return_when=asyncio.FIRST_COMPLETED, timeout=POLL_SECONDS
                )
                for worker in self._workers & done:
                    self._workers.discard(worker)
                    worker.result()
            if not self._mosaic.complete:
                raise ArtifactUnavailable(
                    "; ".join(self.failures) or "there is nobody to fetch from"
                )
            # What a thread is hashing this moment must not be hashed once more.
            await hashing
        finally:
            self._stopped = True
            self._note_silent()
            await _ended(whole, hashing, *self._workers)
            self._emit_bytes_by_source(self._context.clock.monotonic() - began)

    def unresponsive(self, source: Source) -> bool:
        """Say whether a source failed last, or was asked a while ago and has sent nothing."""
        meter = self._meters[source]
        silent = meter.waiting_since is not None and (
            self._context.clock.monotonic() - meter.waiting_since > FIRST_BYTE_SECONDS
        )
        return meter.failed or silent

    def _note_silent(self) -> None:
        """Remember which sources were asked and sent nothing, for the artifacts to come."""
        for source in self.active:
            if self.unresponsive(source):
                self._context.note_failure(source.name)

    def add(self, source: Source) -> None:
        """Begin to ask somebody else too, unless it is over."""
        if self._stopped:
            return
        if self._context.is_banned(source.name):
            self.failures.append(f"{source.name} has sent other bytes than were signed")
            return
        self._meters[source] = RateMeter(self._context.clock.monotonic())
        artifact = self._mosaic.artifact
        self._context.emit(
            FetchStarted(
                artifact=artifact.name,
                size=artifact.size,
                offset=self._mosaic.bytes_present,
                source=source.name,
            )
        )
        worker = asyncio.create_task(self._work(source))
        self._workers.add(worker)
        self.active.add(source)
        worker.add_done_callback(lambda _: self.active.discard(source))

    async def _work(self, source: Source) -> None:
        """Fetch one span after the other from a source, until all is here or it has had enough."""
        context, name, failures = self._context, source.name, 0
        meter = self._meters[source]
        await self._delay_suspect(source)
        rate_check = MinRateCheck(context.min_rate, since=context.clock.monotonic(), done=0)
        while not self._mosaic.complete:
            assignment = self._next(source)
            if assignment is None:
                await self._idle()
                rate_check = MinRateCheck(
                    context.min_rate, since=context.clock.monotonic(), done=meter.total
                )
                continue
            first, asked = assignment.first, None
            try:
                await self._fetch(source, assignment, rate_check)
                failures = 0
                context.health.delivered(name)
                continue
            except RangesUnsupported as failure:
                reason, again = str(failure), False
                self.without_ranges.append(name)
            except FetchFailed as failure:
                reason, again, asked = str(failure), failure.retryable, failure.retry_after
            except ContentMismatch as failure:
                reason, again = str(failure), False
                context.ban(name)
            finally:
                self._scheduler.release(assignment)
                meter.waiting_since = None
                self.notify()
            meter.failed = True
            if again:
                context.note_failure(name)
            # Only a whole chunk is progress: whoever breaks off before one would be asked for ever.
            failures = 1 if assignment.first > first else failures + 1
            again = again and failures < context.policy.limits.attempts
            artifact = self._mosaic.artifact.name
            context.emit(SourceFailed(source=name, artifact=artifact, reason=reason, again=again))
            if not again:
                self.failures.append(f"{name} could not deliver the {artifact}: {reason}")
                return
            await context.back_off(failures, asked)
            # A pause that the source asked for does not make it slow.
            rate_check = MinRateCheck(
                context.min_rate, since=context.clock.monotonic(), done=meter.total
            )

    async def _delay_suspect(self, source: Source) -> None:
        """Let a suspect source wait, so that it takes no span from others that are quick."""
        if not self._context.is_suspect(source.name):
            return
        others = self.active - {source}
        if any(not self._context.is_suspect(other.name) for other in others):
            await self._context.clock.sleep(FIRST_BYTE_SECONDS)

    def _next(self, source: Source) -> Assignment | None:
        now = self._context.clock.monotonic()
        mine = self._meters[source].last_rate(now)
        length = self._span_length(mine, now)
        assignment = self._scheduler.assign(
            source, length, have=source.have, start=source.start_chunk()
        )
        if assignment is None:
            hope = mine or float(MIN_SPAN)
            assignment = self._scheduler.steal(source, hope, self._rate_of, have=source.have)
        return assignment

    def _span_length(self, mine: float, now: float) -> int:
        """Return how much to ask somebody for: some seconds' worth, and less towards the end."""
        if not mine:
            return FIRST_SPAN
        every = max(mine, sum(meter.rate(now) for meter in self._meters.values()))
        share = self._scheduler.free_bytes * mine / every
        return int(max(MIN_SPAN, min(mine * SPAN_SECONDS, MAX_SPAN, max(share, mine / 4))))

    def _rate_of(self, source: Source) -> float:
        return self._meters[source].expected_rate(self._context.clock.monotonic())

    async def _fetch(
        self, source: Source, assignment: Assignment, rate_check: MinRateCheck
    ) -> None:
        """Store the chunks of an assignment as they arrive."""
        chunks, meter = self._mosaic.chunks, self._meters[source]
        offset, length = chunks.span(assignment.first, assignment.end)
        meter.start_request(self._context.clock.monotonic())
        held: Buffer = b""
        flowing = asyncio.timeout(RATE_SECONDS)
        try:
            async with flowing, aclosing(source.read(offset, length)) as pieces:
                async for piece in pieces:
                    held = self._store_chunks(assignment, held, piece)
                    now = self._context.clock.monotonic()
                    meter.add_bytes(now, len(piece))
                    self._total.add_bytes(now, len(piece))
                    self._emit_progress(now)
                    rate_check.check(now, meter.total)
                    if assignment.done:
                        return
                    flowing.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
        except TimeoutError as error:
            if not flowing.expired():
                raise
            raise FetchFailed(
                f"it sent nothing for {RATE_SECONDS} seconds", retryable=True
            ) from error
        if not assignment.done:
            raise FetchFailed("it ended too early", retryable=True)

    def _store_chunks(self, assignment: Assignment, held: Buffer, piece: Buffer) -> Buffer:
        """Keep the whole chunks of two pieces in a row and return the rest of them."""
        chunks, start, rest = self._mosaic.chunks, assignment.first, memoryview(piece)
        if held:
            # Only the chunk that is in both: a piece is too large to be copied for that.
            missing = chunks.span(start, start + 1)[1] - len(held)
            held += rest[:missing]
            rest = rest[missing:]
            assignment.first += self._mosaic.write_chunks(assignment.first, held)
        if assignment.first > start or not held:
            count = self._mosaic.write_chunks(assignment.first, rest)
            held = bytes(rest[chunks.span(assignment.first, assignment.first + count)[1] :])
            assignment.first += count
        if self._mosaic.complete:
            self._finished.set()
        if assignment.first > start:
            self.notify()
        return held

    async def _hash_in_background(self) -> None:
        """Hash on while chunks arrive, so that little is left to hash at the end."""
        while True:
            complete = self._mosaic.complete
            if await asyncio.to_thread(self._mosaic.hash_more):
                continue
            if complete:
                return
            await self._idle()

    async def _idle(self) -> None:
        self._changed.clear()
        try:
            long = self._idle_polls > IDLE_POLLS
            async with asyncio.timeout(SLOW_POLL_SECONDS if long else IDLE_POLL_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            self._idle_polls += 1

    def notify(self) -> None:
        """Let whoever has nothing to do look whether there is something now."""
        self._idle_polls = 0
        self._changed.set()

    def _emit_progress(self, now: float) -> None:
        if now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        artifact, done = self._mosaic.artifact, self._mosaic.bytes_present
        rate = int(self._total.rate(now))
        self._context.emit(
            FetchProgress(artifact=artifact.name, done=done, size=artifact.size, rate=rate)
        )

    def _emit_bytes_by_source(self, seconds: float) -> None:
        gave = {name: length for name, length in self.bytes_by_source.items() if length}
        for name, length in gave.items() if len(gave) > 1 else ():
            self._context.emit(
                SourceServed(
                    source=name,
                    artifact=self._mosaic.artifact.name,
                    bytes=length,
                    seconds=seconds,
                )
            )


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    for assignment in tasks:
        assignment.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
