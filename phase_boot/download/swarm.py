"""An artifact from several sources at once: more from the faster, nothing more from who lies."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any, Final

from phase_boot.download.context import (
    KIB,
    PROGRESS_SECONDS,
    RATE_SECONDS,
    ArtifactUnavailable,
    Errand,
    MinRateCheck,
)
from phase_boot.download.events import SourceServed
from phase_boot.download.scheduler import Assignment, ChunkScheduler
from phase_boot.download.source import Source
from phase_boot.machine.events import FetchProgress, FetchStarted, SourceFailed
from phase_boot.ports.fetcher import Buffer, FetchFailed, RangesUnsupported
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.errors import ContentMismatch

FIRST_SPAN: Final = 512 * KIB
"""What a source is asked for before it is known how fast it is."""
MIN_SPAN: Final = 128 * KIB
MAX_SPAN: Final = 64 * KIB * KIB
SPAN_SECONDS: Final = 4.0
"""A span takes its source so long, so that a question costs little and a failure not much."""
RATE_WINDOW_SECONDS: Final = 3.0
"""Over so long a rate is measured."""
POLL_SECONDS: Final = 1.0
IDLE_POLL_SECONDS: Final = 0.1
"""After so long somebody who found nothing to do looks again."""
IDLE_POLLS: Final = 100
SLOW_POLL_SECONDS: Final = 2.0
"""After so many looks at nothing new it is so long."""
METER_RESET_SECONDS: Final = 0.25
MIN_INTERVAL_SECONDS: Final = 0.02
"""No rate is measured over less."""
FIRST_BYTE_SECONDS: Final = 0.4
"""So long a source may take to begin to answer before others are asked for the same (hedging)."""


class RateMeter:
    """How fast bytes come, over the last few seconds."""

    def __init__(self, now: float) -> None:
        """Begin to count."""
        self._pieces: deque[tuple[float, int]] = deque()
        self._bytes = 0
        self._began = now
        self._last = 0.0
        self.total = 0
        self.waiting_since: float | None = None
        """Since when an answer is awaited of which no byte came."""
        self.failed = False
        """Whether the last request failed and nothing came since."""

    def start_request(self, now: float) -> None:
        """Somebody is asked; a pause before that does not count."""
        self.waiting_since = now
        if not self._pieces or now - self._pieces[-1][0] > METER_RESET_SECONDS:
            self._pieces.clear()
            self._bytes, self._began = 0, now

    def add_bytes(self, now: float, length: int) -> None:
        """Take note of so many bytes."""
        self.total += length
        self.waiting_since, self.failed = None, False
        self._bytes += length
        self._pieces.append((now, length))

    def rate(self, now: float) -> float:
        """Return bytes per second; 0 before anything came."""
        while self._pieces and self._pieces[0][0] < now - RATE_WINDOW_SECONDS:
            self._began, length = self._pieces.popleft()
            self._bytes -= length
        if self._bytes:
            self._last = self._bytes / max(now - self._began, MIN_INTERVAL_SECONDS)
            return self._last
        return 0.0

    def last_rate(self, now: float) -> float:
        """Return the last rate that was measured; 0 if there was none."""
        return self.rate(now) or self._last

    def expected_rate(self, now: float) -> float:
        """Return the rate of somebody who is busy; who was asked a moment ago has no worse one."""
        fresh = not self._bytes and now - self._began < FIRST_BYTE_SECONDS
        return self._last or float(FIRST_SPAN) if fresh else self.rate(now)


class Swarm:
    """Fills a mosaic from sources, which may come to it while it runs."""

    def __init__(self, errand: Errand, mosaic: ChunkWriter) -> None:
        """Take what to fill."""
        self._errand = errand
        self._mosaic = mosaic
        self._scheduler = ChunkScheduler(mosaic.chunks, mosaic.have)
        self._meters: dict[Source, RateMeter] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._total = RateMeter(errand.clock.monotonic())
        self._last_progress = errand.clock.monotonic()
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
        began = self._errand.clock.monotonic()
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
            self._emit_bytes_by_source(self._errand.clock.monotonic() - began)

    def unresponsive(self, source: Source) -> bool:
        """Say whether a source failed last, or was asked a while ago and has sent nothing."""
        meter = self._meters[source]
        silent = meter.waiting_since is not None and (
            self._errand.clock.monotonic() - meter.waiting_since > FIRST_BYTE_SECONDS
        )
        return meter.failed or silent

    def _note_silent(self) -> None:
        """Remember which sources were asked and sent nothing, for the artifacts to come."""
        for source in self.active:
            if self.unresponsive(source):
                self._errand.note_failure(source.name)

    def add(self, source: Source) -> None:
        """Begin to ask somebody else too, unless it is over."""
        if self._stopped:
            return
        if self._errand.lies(source.name):
            self.failures.append(f"{source.name} has sent other bytes than were signed")
            return
        self._meters[source] = RateMeter(self._errand.clock.monotonic())
        artifact = self._mosaic.artifact
        self._errand.emit(
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
        errand, name, failures = self._errand, source.name, 0
        meter = self._meters[source]
        await self._delay_suspect(source)
        pace = MinRateCheck(errand.slowest, since=errand.clock.monotonic(), done=0)
        while not self._mosaic.complete:
            assignment = self._next(source)
            if assignment is None:
                await self._idle()
                pace = MinRateCheck(
                    errand.slowest, since=errand.clock.monotonic(), done=meter.total
                )
                continue
            first, asked = assignment.first, None
            try:
                await self._fetch(source, assignment, pace)
                failures = 0
                errand.health.delivered(name)
                continue
            except RangesUnsupported as failure:
                reason, again = str(failure), False
                self.without_ranges.append(name)
            except FetchFailed as failure:
                reason, again, asked = str(failure), failure.retryable, failure.retry_after
            except ContentMismatch as failure:
                reason, again = str(failure), False
                errand.ban(name)
            finally:
                self._scheduler.release(assignment)
                meter.waiting_since = None
                self.notify()
            meter.failed = True
            if again:
                errand.note_failure(name)
            # Only a whole chunk is progress: whoever breaks off before one would be asked for ever.
            failures = 1 if assignment.first > first else failures + 1
            again = again and failures < errand.policy.limits.attempts
            artifact = self._mosaic.artifact.name
            errand.emit(SourceFailed(source=name, artifact=artifact, reason=reason, again=again))
            if not again:
                self.failures.append(f"{name} could not deliver the {artifact}: {reason}")
                return
            await errand.back_off(failures, asked)
            # A pause that the source asked for does not make it slow.
            pace = MinRateCheck(errand.slowest, since=errand.clock.monotonic(), done=meter.total)

    async def _delay_suspect(self, source: Source) -> None:
        """Let a suspect source wait, so that it takes no span from others that are quick."""
        if not self._errand.is_suspect(source.name):
            return
        others = self.active - {source}
        if any(not self._errand.is_suspect(other.name) for other in others):
            await self._errand.clock.sleep(FIRST_BYTE_SECONDS)

    def _next(self, source: Source) -> Assignment | None:
        now = self._errand.clock.monotonic()
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
        return self._meters[source].expected_rate(self._errand.clock.monotonic())

    async def _fetch(self, source: Source, assignment: Assignment, pace: MinRateCheck) -> None:
        """Store the chunks of an assignment as they arrive."""
        chunks, meter = self._mosaic.chunks, self._meters[source]
        offset, length = chunks.span(assignment.first, assignment.end)
        meter.start_request(self._errand.clock.monotonic())
        held: Buffer = b""
        flowing = asyncio.timeout(RATE_SECONDS)
        try:
            async with flowing, aclosing(source.read(offset, length)) as pieces:
                async for piece in pieces:
                    held = self._store_chunks(assignment, held, piece)
                    now = self._errand.clock.monotonic()
                    meter.add_bytes(now, len(piece))
                    self._total.add_bytes(now, len(piece))
                    self._emit_progress(now)
                    pace.check(now, meter.total)
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
        self._errand.emit(
            FetchProgress(artifact=artifact.name, done=done, size=artifact.size, rate=rate)
        )

    def _emit_bytes_by_source(self, seconds: float) -> None:
        gave = {name: length for name, length in self.bytes_by_source.items() if length}
        for name, length in gave.items() if len(gave) > 1 else ():
            self._errand.emit(
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
