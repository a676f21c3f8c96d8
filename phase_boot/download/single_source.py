"""The whole file from one source at a time: where nobody knows an artifact's chunks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import aclosing
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.download.context import ArtifactUnavailable, DownloadContext
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.download.rate import PROGRESS_SECONDS, RATE_SECONDS, MinRateCheck
from phase_boot.machine.events import FetchProgress, FetchStarted, SourceFailed
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.content_store import VerifiedFile
from phase_boot.store.errors import ContentMismatch
from phase_boot.store.layout import entry_path
from phase_boot.store.stream_writer import StreamWriter
from phase_boot.url import below

MAX_RETRY_WAIT_SECONDS: Final = 8.0
"""Seconds: a source that asks for a longer pause is left, because the next one waits for it."""


async def first_to_respond(
    context: DownloadContext, artifact: Artifact, sources: Iterable[str]
) -> str | None:
    """Return the source that sends a byte of the artifact first; None if all of them fail.

    The next source is asked after `HEDGE_SECONDS` without a byte, so that those that never answer
    delay nothing. What is asked for here is not kept: `fetch_from` asks the source again.
    """
    pending, running = deque(sources), dict[asyncio.Task[bool], str]()
    try:
        while pending or running:
            if pending:
                source = pending.popleft()
                running[asyncio.create_task(_responds(context, artifact, source))] = source
            done, _ = await asyncio.wait(
                running,
                timeout=HEDGE_SECONDS if pending else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for source in () if done else running.values():
                context.note_failure(source)
            for task in done:
                source = running.pop(task)
                if task.result():
                    return source
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return None


async def _responds(context: DownloadContext, artifact: Artifact, source: str) -> bool:
    """Say whether a source begins to send an artifact."""
    url = below(source, entry_path(artifact.digest))
    answer = context.fetcher.stream(url, offset=0, size=artifact.size, reach=context.reach)
    try:
        async with asyncio.timeout(RATE_SECONDS), aclosing(answer) as pieces:
            async for _ in pieces:
                return True
    except (FetchFailed, TimeoutError):
        # What is wrong is said when it is asked in earnest.
        return False
    return True


async def fetch_from(context: DownloadContext, artifact: Artifact, source: str) -> VerifiedFile:
    """Ask one source for all of it until it delivered, lied, or used up its attempts.

    Raises:
        ArtifactUnavailable: it is not to be asked again for this artifact.
        StoreError: it cannot be kept here.
    """
    attempts = context.policy.limits.attempts
    for attempt in range(1, attempts + 1):
        asked = None
        writer = await asyncio.to_thread(context.store.stream_writer, artifact)
        mixed = writer.offset > 0
        try:
            try:
                await _download(context, artifact, source, writer)
            except BaseException:
                writer.close()
                raise
            # From here on the writer is the thread's: we may be cancelled while it works.
            return await asyncio.to_thread(context.store.commit, writer)
        except FetchFailed as failure:
            reason, again, asked = str(failure), failure.retryable, failure.retry_after
        except ContentMismatch as failure:
            # Where earlier bytes came from somebody else this source may be honest: it gets
            # one clean start. Alone with its own bytes it is a liar.
            reason, again = str(failure), mixed
            if not mixed:
                context.ban(source)
        again = again and attempt < attempts and (asked or 0.0) <= MAX_RETRY_WAIT_SECONDS
        failed = SourceFailed(source=source, artifact=artifact.name, reason=reason, again=again)
        context.emit(failed)
        if not again:
            break
        await context.back_off(attempt, asked)
    raise ArtifactUnavailable(f"{source} could not deliver the {artifact.name}: {reason}")


async def _download(
    context: DownloadContext, artifact: Artifact, source: str, writer: StreamWriter
) -> None:
    url = below(source, entry_path(artifact.digest))
    offset = done = writer.offset
    context.emit(
        FetchStarted(artifact=artifact.name, size=artifact.size, offset=offset, source=source)
    )
    told = context.clock.monotonic()
    rate_check = MinRateCheck(context.min_rate, since=told, done=done)
    answer = context.fetcher.stream(
        url,
        offset=offset,
        size=artifact.size,
        reach=context.reach,
        redirects=context.max_redirects,
    )
    flowing = asyncio.timeout(RATE_SECONDS)
    try:
        async with flowing, aclosing(answer) as pieces:
            async for piece in pieces:
                writer.write(piece)
                done += len(piece)
                now = context.clock.monotonic()
                if now - told >= PROGRESS_SECONDS:
                    context.emit(
                        FetchProgress(artifact=artifact.name, done=done, size=artifact.size)
                    )
                    told = now
                rate_check.check(now, done)
                flowing.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
    except TimeoutError as error:
        if not flowing.expired():
            raise
        raise FetchFailed(f"it sent nothing for {RATE_SECONDS} seconds", retryable=True) from error
