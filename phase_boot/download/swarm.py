"""Swarm download: fills an artifact from several sources at once.

Each source has a worker. It asks the scheduler for a run of chunks, as long as the source's rate
suggests, and writes them as they arrive. The writer verifies each chunk, so that a source that
sends a wrong one is banned after this one chunk, and the others go on. Sources may be added while
the download runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any, Final

from phase_boot.download.context import ArtifactUnavailable, DownloadContext
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
from phase_boot.journal.content_events import (
    FetchProgress,
    FetchStarted,
    SourceFailed,
    SourceServed,
)
from phase_boot.ports.fetcher import Buffer, FetchFailed, RangesUnsupported
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.errors import ContentMismatch

FIRST_SPAN: Final = ASSUMED_RATE
"""Length of the first request to a source, whose rate is unknown, in bytes."""
MIN_SPAN: Final = 128 * KIB
"""Shortest request, in bytes; a chunk may be longer."""
MAX_SPAN: Final = 64 * KIB * KIB
"""Longest request, in bytes."""
SPAN_SECONDS: Final = 4.0
"""Duration of one request: long against a round trip, short against the download."""
POLL_SECONDS: Final = 1.0
"""Interval at which the list of workers is read again."""
IDLE_POLL_SECONDS: Final = 0.1
"""Poll interval of an idle worker."""
IDLE_POLLS: Final = 100
"""Polls without a change after which the interval is `SLOW_POLL_SECONDS`."""
SLOW_POLL_SECONDS: Final = 2.0


class Swarm:
    """Downloads the missing chunks of one artifact."""

    def __init__(self, context: DownloadContext, writer: ChunkWriter) -> None:
        """Take the writer that is to be filled."""
        self._context = context
        self._writer = writer
        self._scheduler = ChunkScheduler(writer.chunks, writer.have)
        self._meters: dict[Source, RateMeter] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._total = RateMeter(context.clock.monotonic())
        self._last_progress = context.clock.monotonic()
        self._changed = asyncio.Event()
        self._idle_polls = 0
        self._finished = asyncio.Event()
        self._stopped = False
        self.active: set[Source] = set()
        """Sources with a worker: they deliver, or wait for chunks to request."""
        self.without_ranges: list[str] = []
        """Names of sources that send only whole files."""
        self.failures: list[str] = []
        """One reason for each source that was given up."""

    @property
    def bytes_by_source(self) -> Counter[str]:
        """Bytes received before any wrong chunk, by the names of the sources."""
        totals: Counter[str] = Counter()
        for source, meter in self._meters.items():
            totals[source.name] += meter.total
        return totals

    async def run(self, sources: Iterable[Source]) -> None:
        """Download until every chunk is here.

        Raises:
            ArtifactUnavailable: no source is left.
            StoreError: the store cannot keep it.
        """
        began = self._context.clock.monotonic()
        hashing = asyncio.create_task(self._hash_in_background())
        whole = asyncio.create_task(self._finished.wait())
        try:
            for source in sources:
                self.add(source)
            while self._workers and not self._writer.complete:
                waiting = {whole, *self._workers}
                # With a timeout: sources may have been added.
                done, _ = await asyncio.wait(
                    waiting, return_when=asyncio.FIRST_COMPLETED, timeout=POLL_SECONDS
                )
                for worker in self._workers & done:
                    self._workers.discard(worker)
                    worker.result()
            if not self._writer.complete:
                raise ArtifactUnavailable(
                    "; ".join(self.failures) or "there is no source to fetch from"
                )
            # Else the commit would hash again what the thread is hashing now.
            await hashing
        finally:
            self._stopped = True
            try:
                # Before the workers end: each of them forgets then what it waited for.
                self._note_silent()
            finally:
                await _cancel_all(whole, hashing, *self._workers)
            self._emit_bytes_by_source(self._context.clock.monotonic() - began)

    def unresponsive(self, source: Source) -> bool:
        """Return whether a source failed last, or has sent nothing since a request a while ago."""
        meter = self._meters[source]
        silent = meter.waiting_since is not None and (
            self._context.clock.monotonic() - meter.waiting_since > FIRST_BYTE_SECONDS
        )
        return meter.failed or silent

    def _note_silent(self) -> None:
        """Record the sources that sent nothing, for the artifacts to come."""
        for source in self.active:
            if self.unresponsive(source):
                self._context.note_failure(source.name)

    def add(self, source: Source) -> None:
        """Add a source, unless the download has ended or the source is banned."""
        if self._stopped:
            return
        if self._context.is_banned(source.name):
            self.failures.append(f"{source.name} has sent other bytes than were signed")
            return
        self._meters[source] = RateMeter(self._context.clock.monotonic())
        artifact = self._writer.artifact
        self._context.emit(
            FetchStarted(
                artifact=artifact.name,
                size=artifact.size,
                offset=self._writer.bytes_present,
                source=source.name,
            )
        )
        worker = asyncio.create_task(self._work(source))
        self._workers.add(worker)
        self.active.add(source)
        worker.add_done_callback(lambda _: self.active.discard(source))

    async def _work(self, source: Source) -> None:
        """Run the worker of a source until all chunks are here or the source is given up."""
        context, name, failures = self._context, source.name, 0
        meter = self._meters[source]
        await self._delay_suspect(source)
        rate_check = MinRateCheck(context.min_rate, since=context.clock.monotonic(), done=0)
        while not self._writer.complete:
            assignment = self._next(source)
            if assignment is None:
                await self._idle()
                rate_check = MinRateCheck(
                    context.min_rate, since=context.clock.monotonic(), done=meter.total
                )
                continue
            first, pause = assignment.first, None
            try:
                await self._fetch(source, assignment, rate_check)
                failures = 0
                context.health.delivered(name)
                continue
            except RangesUnsupported as failure:
                reason, retryable = str(failure), False
                self.without_ranges.append(name)
            except FetchFailed as failure:
                reason, retryable, pause = str(failure), failure.retryable, failure.retry_after
            except ContentMismatch as failure:
                reason, retryable = str(failure), False
                context.ban(name)
            finally:
                self._scheduler.release(assignment)
                meter.waiting_since = None
                self.notify()
            meter.failed = True
            if retryable:
                context.note_failure(name)
            # Only a whole chunk is progress. Else a source that breaks off earlier would be
            # requested without end.
            failures = 1 if assignment.first > first else failures + 1
            retryable = retryable and failures < context.policy.limits.attempts
            artifact = self._writer.artifact.name
            context.emit(
                SourceFailed(source=name, artifact=artifact, reason=reason, retryable=retryable)
            )
            if not retryable:
                self.failures.append(f"{name} could not deliver the {artifact}: {reason}")
                return
            await context.back_off(failures, pause)
            # A pause that the source asked for does not count as slow.
            rate_check = MinRateCheck(
                context.min_rate, since=context.clock.monotonic(), done=meter.total
            )

    async def _delay_suspect(self, source: Source) -> None:
        """Let a suspect source wait, so that it takes no chunks from sources that respond."""
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
            assumed = mine or float(MIN_SPAN)
            assignment = self._scheduler.steal(source, assumed, self._rate_of, have=source.have)
        return assignment

    def _span_length(self, mine: float, now: float) -> int:
        """Return the bytes to request: `SPAN_SECONDS` at rate ``mine``, less towards the end."""
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
        chunks, meter = self._writer.chunks, self._meters[source]
        offset, length = chunks.span(assignment.first, assignment.end)
        meter.start_request(self._context.clock.monotonic())
        held: Buffer = b""
        stall = asyncio.timeout(RATE_SECONDS)
        try:
            async with stall, aclosing(source.read(offset, length)) as body:
                async for received in body:
                    held = self._store_chunks(assignment, held, received)
                    now = self._context.clock.monotonic()
                    meter.add_bytes(now, len(received))
                    self._total.add_bytes(now, len(received))
                    self._emit_progress(now)
                    rate_check.check(now, meter.total)
                    if assignment.done:
                        return
                    stall.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
        except TimeoutError as error:
            if not stall.expired():
                raise
            raise FetchFailed(
                f"it sent nothing for {RATE_SECONDS} seconds", retryable=True
            ) from error
        if not assignment.done:
            raise FetchFailed("it ended too early", retryable=True)

    def _store_chunks(self, assignment: Assignment, held: Buffer, received: Buffer) -> Buffer:
        """Write the whole chunks of ``held`` and ``received``; return the rest.

        Args:
            assignment: moves on past the chunks that were written.
            held: the begin of a chunk, from earlier bytes.
            received: the bytes after ``held``.
        """
        chunks, start, rest = self._writer.chunks, assignment.first, memoryview(received)
        if held:
            # Only the chunk that spans both is copied: a buffer may be large.
            missing = chunks.span(start, start + 1)[1] - len(held)
            held += rest[:missing]
            rest = rest[missing:]
            assignment.first += self._writer.write_chunks(assignment.first, held)
        if assignment.first > start or not held:
            count = self._writer.write_chunks(assignment.first, rest)
            held = bytes(rest[chunks.span(assignment.first, assignment.first + count)[1] :])
            assignment.first += count
        if self._writer.complete:
            self._finished.set()
        if assignment.first > start:
            self.notify()
        return held

    async def _hash_in_background(self) -> None:
        """Hash the file while chunks arrive, so that little is left to hash at the end."""
        while True:
            complete = self._writer.complete
            if await asyncio.to_thread(self._writer.hash_more):
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
        """Wake idle workers: chunks may have become free, or limits changed."""
        self._idle_polls = 0
        self._changed.set()

    def _emit_progress(self, now: float) -> None:
        if now - self._last_progress < PROGRESS_SECONDS:
            return
        self._last_progress = now
        artifact, done = self._writer.artifact, self._writer.bytes_present
        rate = int(self._total.rate(now))
        self._context.emit(
            FetchProgress(artifact=artifact.name, done=done, size=artifact.size, rate=rate)
        )

    def _emit_bytes_by_source(self, seconds: float) -> None:
        delivered = {name: length for name, length in self.bytes_by_source.items() if length}
        for name, length in delivered.items() if len(delivered) > 1 else ():
            self._context.emit(
                SourceServed(
                    source=name,
                    artifact=self._writer.artifact.name,
                    bytes=length,
                    seconds=seconds,
                )
            )


async def _cancel_all(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
