"""Having one artifact, from the store or from whoever has it: hashed to what was signed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from phase_boot.machine.events import (
    Event,
    FetchDone,
    FetchProgress,
    FetchStarted,
    SourceFailed,
    StoreCorrupt,
)
from phase_boot.ports.clock import Clock
from phase_boot.ports.fetcher import Fetcher, FetchFailed
from phase_boot.ports.finder import server_of
from phase_boot.store.cas import Cas, Fetched
from phase_boot.store.errors import Corrupt, Missing, WrongContent
from phase_boot.store.writer import ArtifactWriter
from phase_boot.trust.manifest import Artifact
from policies.model import Policy

PROGRESS_SECONDS: Final = 0.25
BACKOFF_SECONDS: Final = 0.5
"""Doubled with every further attempt at one source."""
RATE_SECONDS: Final = 30
"""Over so long a source must keep to the lowest rate of the policy."""
KIB: Final = 1024


class Unobtainable(Exception):
    """Nobody who was asked could deliver the artifact; the text says who failed how."""


class _SourceExhausted(Exception):
    """This source is not asked again for this artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """What artifacts are fetched with, and from where.

    Attributes:
        sources: base URLs of mirrors and providers, the preferred first.
        liars: servers that sent other bytes than were signed: a set that grows while we work.
    """

    clock: Clock
    fetcher: Fetcher
    cas: Cas
    sources: tuple[str, ...]
    policy: Policy
    liars: set[str]
    emit: Callable[[Event], None]


async def obtain(errand: Errand, artifact: Artifact) -> tuple[Fetched, str]:
    """Return the artifact and where it came from: the store, or the first source that can.

    Raises:
        Unobtainable: nobody had it.
        StoreError: it cannot be kept here.
    """
    try:
        stored = await asyncio.to_thread(errand.cas.open, artifact)
    except Missing:
        pass
    except Corrupt as failure:
        errand.emit(StoreCorrupt(artifact=artifact.name, reason=str(failure)))
    else:
        _done(errand, artifact, "store", 0.0)
        return stored, "store"
    reasons = []
    for source in errand.sources:
        if server_of(source) in errand.liars:
            reasons.append(f"{source} has sent other bytes than were signed")
            continue
        started = errand.clock.monotonic()
        try:
            fetched = await _from_source(errand, artifact, source)
        except _SourceExhausted as failure:
            reasons.append(str(failure))
            continue
        _done(errand, artifact, source, errand.clock.monotonic() - started)
        return fetched, source
    raise Unobtainable("; ".join(reasons) or "the manifest names no place to fetch from")


async def _from_source(errand: Errand, artifact: Artifact, source: str) -> Fetched:
    """Ask one source until it delivered, lied, or used up its attempts."""
    attempts = errand.policy.limits.attempts
    for attempt in range(1, attempts + 1):
        writer = await asyncio.to_thread(errand.cas.writer, artifact)
        mixed = writer.offset > 0
        try:
            try:
                await _download(errand, artifact, source, writer)
            except BaseException:
                writer.close()
                raise
            # From here on the writer is the thread's: we may be cancelled while it works.
            return await asyncio.to_thread(errand.cas.commit, writer)
        except FetchFailed as failure:
            reason, again = str(failure), failure.again
        except WrongContent as failure:
            # Where earlier bytes came from somebody else this source may be honest: it gets
            # one clean start. Alone with its own bytes it is a liar.
            reason, again = str(failure), mixed
            if not mixed:
                errand.liars.add(server_of(source))
        again = again and attempt < attempts
        failed = SourceFailed(source=source, artifact=artifact.name, reason=reason, again=again)
        errand.emit(failed)
        if not again:
            break
        await errand.clock.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
    raise _SourceExhausted(f"{source} could not deliver the {artifact.name}: {reason}")


async def _download(
    errand: Errand, artifact: Artifact, source: str, writer: ArtifactWriter
) -> None:
    url = f"{source}/cas/sha256/{artifact.digest.hex}"
    offset = done = writer.offset
    errand.emit(
        FetchStarted(artifact=artifact.name, size=artifact.size, offset=offset, source=source)
    )
    told = errand.clock.monotonic()
    policy = errand.policy
    pace = _Pace(policy.limits.slowest_kib_per_second * KIB, since=told, done=done)
    answer = errand.fetcher.stream(
        url, offset=offset, size=artifact.size, reach=policy.network.reach
    )
    flowing = asyncio.timeout(RATE_SECONDS)
    try:
        async with flowing, aclosing(answer) as pieces:
            async for piece in pieces:
                writer.write(piece)
                done += len(piece)
                now = errand.clock.monotonic()
                if now - told >= PROGRESS_SECONDS:
                    errand.emit(
                        FetchProgress(artifact=artifact.name, done=done, size=artifact.size)
                    )
                    told = now
                pace.check(now, done)
                flowing.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
    except TimeoutError as error:
        if not flowing.expired():
            raise
        raise FetchFailed(f"it sent nothing for {RATE_SECONDS} seconds", again=True) from error


class _Pace:
    """Whether a source keeps to the lowest rate, looked at every `RATE_SECONDS`."""

    def __init__(self, least: int, *, since: float, done: int) -> None:
        """Take the bytes per second that are asked for, and where the count begins."""
        self._least = least
        self._since = since
        self._done = done

    def check(self, now: float, done: int) -> None:
        """Raise FetchFailed if the source was too slow since the last look."""
        elapsed = now - self._since
        if elapsed < RATE_SECONDS:
            return
        if done - self._done < self._least * elapsed:
            slow = f"it sends less than {self._least // KIB} KiB a second"
            raise FetchFailed(slow, again=False)
        self._since, self._done = now, done


def _done(errand: Errand, artifact: Artifact, source: str, seconds: float) -> None:
    errand.emit(
        FetchDone(
            artifact=artifact.name,
            sha256=artifact.digest.hex,
            size=artifact.size,
            source=source,
            seconds=seconds,
        )
    )
