"""Swarm download: fills an artifact from several sources at once.

Each lane of a source has a worker. It asks the scheduler for a run of chunks, as long as the lane's
rate suggests, and writes them as they arrive. The writer verifies each chunk, so that a source that
sends a wrong one is banned after this one chunk, and the others go on. Sources may be added while
the download runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from phase_boot.download.context import ArtifactUnavailable, DownloadContext
from phase_boot.download.lanes import Lane, Lanes
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
        self._scheduler = ChunkScheduler[Lane](writer.chunks, writer.have)
        self._lanes: dict[Source, Lanes] = {}
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
        for source, lanes in self._lanes.items():
            totals[source.name] += lanes.meter.total
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
                # With a timeout: sources may have been added, and more lanes be worth a trial.
                done, _ = await asyncio.wait(
                    waiting, return_when=asyncio.FIRST_COMPLETED, timeout=POLL_SECONDS
                )
                for worker in self._workers & done:
                    self._workers.discard(worker)
                    if not worker.cancelled():
                        worker.result()
                for lanes in self._lanes.values():
                    self._open_lanes(lanes)
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
        return self._lanes[source].unresponsive(self._context.clock.monotonic())

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
        lanes = self._lanes[source] = Lanes(source, self._context.clock.monotonic())
        artifact = self._writer.artifact
        self._context.emit(
            FetchStarted(
                artifact=artifact.name,
                size=artifact.size,
                offset=self._writer.bytes_present,
                source=source.name,
            )
        )
        self.active.add(source)
        self._open_lanes(lanes)

    def _open_lanes(self, lanes: Lanes) -> None:
        """Start a worker for each lane that a source should have and has not."""
        now = self._context.clock.monotonic()
        for _ in range(lanes.missing(now)):
            lane = Lane(lanes.source, now)
            lanes.open.add(lane)
            worker = lane.task = asyncio.create_task(self._work(lanes, lane))
            self._workers.add(worker)
            worker.add_done_callback(partial(self._lane_ended, lanes, lane))

    def _lane_ended(self, lanes: Lanes, lane: Lane, _: asyncio.Task[None]) -> None:
        lanes.open.discard(lane)
        if not lanes.open:
            self.active.discard(lanes.source)
            self.notify()

    def _give_up(self, lanes: Lanes, lane: Lane) -> None:
        """Stop the other lanes of a source because of what happened in one of them."""
        lanes.ended = True
        for other in lanes.open - {lane}:
            if other.task is not None:
                other.task.cancel()

    async def _work(self, lanes: Lanes, lane: Lane) -> None:
        """Run the worker of a lane until all chunks are here or its source is given up."""
        source, context, failures = lanes.source, self._context, 0
        name, meter = source.name, lanes.meter
        await self._delay_suspect(source)
        await self._give_head_start(source)
        since = context.clock.monotonic()
        rate_check = MinRateCheck(context.min_rate, since=since, done=meter.total)
        while not (self._writer.complete or lanes.close_surplus(lane)):
            assignment = self._next(lane)
            if assignment is None:
                await self._idle()
                rate_check = MinRateCheck(
                    context.min_rate, since=context.clock.monotonic(), done=meter.total
                )
                continue
            first, pause = assignment.first, None
            try:
                await self._fetch(lanes, lane, assignment, rate_check)
                failures = 0
                context.health.delivered(name)
                self._open_lanes(lanes)
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
                lane.meter.waiting_since = None
                self.notify()
            meter.failed = True
            if retryable and len(lanes.open) > 1:
                # The other lanes go on; the last one shows whether the source has failed.
                lanes.close(lane, context.clock.monotonic())
                return
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
                self._give_up(lanes, lane)
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

    async def _give_head_start(self, source: Source) -> None:
        """Wait while a source with less patience may deliver, as long as this one's patience."""
        until = self._context.clock.monotonic() + source.patience_seconds
        while self._context.clock.monotonic() < until and any(
            other.patience_seconds < source.patience_seconds and self._may_deliver(other)
            for other in self.active - {source}
        ):
            await self._idle()

    def _may_deliver(self, source: Source) -> bool:
        """Return whether a source responds, and has a missing chunk to send now or soon."""
        return not self.unresponsive(source) and (
            source.have_pending
            or self._scheduler.any_free(source.have)
            or any(map(self._scheduler.is_assigned, self._lanes[source].open))
        )

    def _next(self, lane: Lane) -> Assignment[Lane] | None:
        now, source = self._context.clock.monotonic(), lane.source
        mine = lane.meter.last_rate(now)
        length = self._span_length(mine, now)
        assignment = self._scheduler.assign(
            lane, length, have=source.have, start=source.start_chunk()
        )
        if assignment is None:
            assumed = mine or float(MIN_SPAN)
            assignment = self._scheduler.steal(lane, assumed, self._rate_of, have=source.have)
        return assignment

    def _span_length(self, mine: float, now: float) -> int:
        """Return the bytes to request: `SPAN_SECONDS` at rate ``mine``, less towards the end."""
        if not mine:
            return FIRST_SPAN
        every = max(mine, sum(lanes.meter.rate(now) for lanes in self._lanes.values()))
        share = self._scheduler.free_bytes * mine / every
        return int(max(MIN_SPAN, min(mine * SPAN_SECONDS, MAX_SPAN, max(share, mine / 4))))

    def _rate_of(self, lane: Lane) -> float:
        return lane.meter.expected_rate(self._context.clock.monotonic())

    async def _fetch(
        self, lanes: Lanes, lane: Lane, assignment: Assignment[Lane], rate_check: MinRateCheck
    ) -> None:
        """Store the chunks of an assignment as they arrive."""
        offset, length = self._writer.chunks.span(assignment.first, assignment.end)
        lane.meter.start_request(self._context.clock.monotonic())
        held: Buffer = b""
        stall = asyncio.timeout(RATE_SECONDS)
        try:
            async with stall, aclosing(lane.source.read(offset, length)) as body:
                async for received in body:
                    held = self._store_chunks(assignment, held, received)
                    now = self._context.clock.monotonic()
                    lanes.add_bytes(lane, now, len(received))
                    self._total.add_bytes(now, len(received))
                    self._emit_progress(now)
                    rate_check.check(now, lanes.meter.total)
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

    def _store_chunks(self, assignment: Assignment[Lane], held: Buffer, received: Buffer) -> Buffer:
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
