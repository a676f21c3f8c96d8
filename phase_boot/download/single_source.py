"""Downloads a whole file from one source at a time: the fallback without a list of chunks.

The file is verified only at its end. So a wrong byte costs the whole file, and only a source that
sent all of it is banned for it: after earlier bytes of another source it gets a clean start.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Self

from phase_boot.content.artifact import Artifact
from phase_boot.download.context import ArtifactUnavailable, DownloadContext
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.download.rate import PROGRESS_SECONDS, RATE_SECONDS, MinRateCheck
from phase_boot.journal.content_events import FetchProgress, FetchStarted, SourceFailed
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.content_store import VerifiedFile
from phase_boot.store.errors import ContentMismatch
from phase_boot.store.layout import entry_path
from phase_boot.store.stream_writer import StreamWriter
from phase_boot.url import below

MAX_RETRY_WAIT_SECONDS: Final = 8.0
"""A source that asks for a longer pause is given up, because the next one waits for it."""


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A source, and the URL of the artifact there."""

    source: str
    url: str

    @classmethod
    def at_mirror(cls, base: str, artifact: Artifact) -> Self:
        """Return where a mirror has the artifact."""
        return cls(base, below(base, entry_path(artifact.digest)))


async def first_to_respond(
    context: DownloadContext, artifact: Artifact, sources: Iterable[WholeFile]
) -> WholeFile | None:
    """Return the source that sends the first byte of the artifact; None if all of them fail.

    The next source is asked after `HEDGE_SECONDS` without a byte, so that silent sources cause no
    delay. The bytes are discarded: `fetch_from` requests the file again.
    """
    pending, running = deque(sources), dict[asyncio.Task[bool], WholeFile]()
    try:
        while pending or running:
            if pending:
                source = pending.popleft()
                running[asyncio.create_task(_responds(context, artifact, source.url))] = source
            done, _ = await asyncio.wait(
                running,
                timeout=HEDGE_SECONDS if pending else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for source in () if done else running.values():
                context.note_failure(source.source)
            for task in done:
                source = running.pop(task)
                if task.result():
                    return source
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return None


async def _responds(context: DownloadContext, artifact: Artifact, url: str) -> bool:
    """Return whether a source begins to send an artifact."""
    response = context.fetcher.stream(url, offset=0, size=artifact.size, reach=context.reach)
    try:
        async with asyncio.timeout(RATE_SECONDS), aclosing(response) as body:
            async for _ in body:
                return True
    except (FetchFailed, TimeoutError):
        # `fetch_from` reports the failure, if the source is used.
        return False
    return True


async def fetch_from(
    context: DownloadContext, artifact: Artifact, place: WholeFile
) -> VerifiedFile:
    """Download the file from one source, within the attempts of the policy.

    Raises:
        ArtifactUnavailable: the source failed, or sent other bytes than were signed.
        StoreError: the store cannot keep it.
    """
    source = place.source
    attempts = context.policy.limits.attempts
    for attempt in range(1, attempts + 1):
        pause = None
        writer = await asyncio.to_thread(context.store.stream_writer, artifact)
        mixed = writer.offset > 0
        try:
            try:
                await _download(context, artifact, place, writer)
            except BaseException:
                writer.close()
                raise
            # From here on the thread owns the writer: this task may be cancelled while it works.
            return await asyncio.to_thread(context.store.commit, writer)
        except FetchFailed as failure:
            reason, retryable, pause = str(failure), failure.retryable, failure.retry_after
        except ContentMismatch as failure:
            # Earlier bytes may be those of another source: this one gets a clean start. If all
            # bytes are its own it is banned.
            reason, retryable = str(failure), mixed
            if not mixed:
                context.ban(source)
        retryable = retryable and attempt < attempts and (pause or 0.0) <= MAX_RETRY_WAIT_SECONDS
        failed = SourceFailed(
            source=source, artifact=artifact.name, reason=reason, retryable=retryable
        )
        context.emit(failed)
        if not retryable:
            break
        await context.back_off(attempt, pause)
    raise ArtifactUnavailable(f"{source} could not deliver the {artifact.name}: {reason}")


async def _download(
    context: DownloadContext, artifact: Artifact, place: WholeFile, writer: StreamWriter
) -> None:
    offset = done = writer.offset
    context.emit(
        FetchStarted(artifact=artifact.name, size=artifact.size, offset=offset, source=place.source)
    )
    last_progress = context.clock.monotonic()
    rate_check = MinRateCheck(context.min_rate, since=last_progress, done=done)
    response = context.fetcher.stream(
        place.url,
        offset=offset,
        size=artifact.size,
        reach=context.reach,
        redirects=context.max_redirects,
    )
    stall = asyncio.timeout(RATE_SECONDS)
    try:
        async with stall, aclosing(response) as body:
            async for received in body:
                writer.write(received)
                done += len(received)
                now = context.clock.monotonic()
                if now - last_progress >= PROGRESS_SECONDS:
                    context.emit(
                        FetchProgress(artifact=artifact.name, done=done, size=artifact.size)
                    )
                    last_progress = now
                rate_check.check(now, done)
                stall.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
    except TimeoutError as error:
        if not stall.expired():
            raise
        raise FetchFailed(f"it sent nothing for {RATE_SECONDS} seconds", retryable=True) from error
