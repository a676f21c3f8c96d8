"""Fetch: have the three artifacts, each hashed to what was signed, from whoever has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from phase_boot.handoff.memory import to_fetch_and_start, to_go_on
from phase_boot.machine.boot import Boot, Images, known
from phase_boot.machine.errors import CannotStore, NotConfigured, NotEnoughMemory, NoWayToStart
from phase_boot.machine.events import (
    FetchDone,
    FetchProgress,
    FetchStarted,
    SourceFailed,
    StoreCorrupt,
    StoreOpened,
)
from phase_boot.machine.graph import State, Trigger
from phase_boot.machine.handler import Handler, Step, World
from phase_boot.machine.preflight import UKI, Survey, Unstartable, suited, survey, uki_is_wanted
from phase_boot.ports.cache import Shelf
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.finder import server_of
from phase_boot.store.cas import Cas, Fetched
from phase_boot.store.errors import Corrupt, Missing, StoreError, WrongContent
from phase_boot.store.writer import ArtifactWriter
from phase_boot.trust.manifest import REQUIRED, Artifact, Manifest
from policies.model import Policy

MIB: Final = 1024 * 1024
PROGRESS_SECONDS: Final = 0.25
BACKOFF_SECONDS: Final = 0.5
"""Doubled with every further attempt at one source."""
RATE_SECONDS: Final = 30
"""Over so long a source must keep to the lowest rate of the policy."""
KIB: Final = 1024


class _SourceExhausted(Exception):
    """This source is not asked again for this artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Errand:
    """What one run of this state works with."""

    world: World
    cas: Cas
    sources: tuple[str, ...]
    policy: Policy
    liars: set[str]
    """Servers that sent other bytes than were signed: a set that grows while we work."""


async def fetch(world: World, boot: Boot) -> Step:
    """Leads to: kexec (fetched), discover (unavailable), shell (give_up)."""
    shelf, limits = known(boot.shelf, "a store"), known(boot.policy, "a policy").limits
    found = await survey(world, boot)
    liars = set(boot.liars)
    try:
        return await _fetch_onto(world, boot, found, shelf, liars)
    except StoreError as failure:
        if not shelf.persistent:
            raise CannotStore(str(failure)) from failure
        # A Cache that is full, read-only or dying must not stop a boot that fits into memory.
        memory = await world.cache.open(persistent=False, bound=limits.cache_mib * MIB)
        world.emit(StoreOpened(persistent=False, note=str(failure)))
    try:
        return await _fetch_onto(world, boot, found, memory, liars)
    except StoreError as failure:
        raise CannotStore(str(failure)) from failure


async def _fetch_onto(
    world: World, boot: Boot, found: Survey, shelf: Shelf, liars: set[str]
) -> Step:
    """Have all artifacts on ``shelf``, the kernel first; an error leaves no descriptor open."""
    manifest = known(boot.manifest, "a manifest").manifest
    wanted = [manifest.artifacts[name] for name in REQUIRED]
    _reckon_memory(world, shelf, manifest)
    base = known(boot.candidate, "a candidate").base(manifest.arch, manifest.channel)
    errand = _Errand(
        world=world,
        cas=shelf.cas,
        sources=tuple(_sources(base, manifest)),
        policy=known(boot.policy, "a policy"),
        liars=liars,
    )
    shelf.cas.pin(*(artifact.digest for artifact in wanted))
    fetched: dict[str, Fetched] = {}
    origins: dict[str, str] = {}
    uki = manifest.artifacts.get(UKI)
    try:
        kernel, ladder = None, found.ladder
        while wanted:
            artifact = wanted.pop(0)
            fetched[artifact.name], origins[artifact.name] = await _obtain(errand, artifact)
            if kernel is None:
                image = fetched[artifact.name]
                kernel, ladder = suited(world, found, image, has_uki=uki is not None)
                extra = [uki] if uki is not None and uki_is_wanted(found, kernel, ladder) else []
                wanted += extra
                shelf.cas.pin(*(artifact.digest for artifact in extra))
                more = to_go_on(kernel, extra, stored_on_cache=shelf.persistent)
                if more:
                    _reckon_memory(world, shelf, manifest, more=more)
    except (_SourceExhausted, Unstartable) as failure:
        _close(fetched)
        return _unavailable(boot, str(failure), errand.liars)
    except BaseException:
        _close(fetched)
        raise
    facts = replace(
        boot,
        shelf=shelf,
        images=Images(**fetched),
        kernel=kernel,
        ladder=ladder,
        sources=tuple(origins.items()),
    )
    return Step(Trigger.FETCHED, facts)


def _sources(base: str | None, manifest: Manifest) -> Iterator[str]:
    """Yield where to fetch from: whoever offered the manifest, then the mirrors it names."""
    named = ([base] if base else []) + [mirror.rstrip("/") for mirror in manifest.mirrors]
    yield from dict.fromkeys(named)


def _reckon_memory(world: World, shelf: Shelf, manifest: Manifest, *, more: int = 0) -> None:
    """Refuse before the download what could not be started after it."""
    needed = more + to_fetch_and_start(manifest.artifacts, rootfs_on_cache=shelf.persistent)
    free = world.platform.memory_available()
    if needed > free:
        raise NotEnoughMemory(
            f"this image takes {needed / MIB:.1f} MiB of memory and {free / MIB:.1f} MiB are free; "
            "use a machine with more memory, or a stick with a Cache partition"
        )


async def _obtain(errand: _Errand, artifact: Artifact) -> tuple[Fetched, str]:
    """Return the artifact and where it came from: the store, or the first source that can."""
    try:
        stored = await asyncio.to_thread(errand.cas.open, artifact)
    except Missing:
        pass
    except Corrupt as failure:
        errand.world.emit(StoreCorrupt(artifact=artifact.name, reason=str(failure)))
    else:
        _done(errand, artifact, "store", 0.0)
        return stored, "store"
    reasons = []
    for source in errand.sources:
        if server_of(source) in errand.liars:
            reasons.append(f"{source} has sent other bytes than were signed")
            continue
        started = errand.world.clock.monotonic()
        try:
            fetched = await _from_source(errand, artifact, source)
        except _SourceExhausted as failure:
            reasons.append(str(failure))
            continue
        _done(errand, artifact, source, errand.world.clock.monotonic() - started)
        return fetched, source
    raise _SourceExhausted("; ".join(reasons) or "the manifest names no place to fetch from")


async def _from_source(errand: _Errand, artifact: Artifact, source: str) -> Fetched:
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
        errand.world.emit(failed)
        if not again:
            break
        await errand.world.clock.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
    raise _SourceExhausted(f"{source} could not deliver the {artifact.name}: {reason}")


async def _download(
    errand: _Errand, artifact: Artifact, source: str, writer: ArtifactWriter
) -> None:
    world = errand.world
    url = f"{source}/cas/sha256/{artifact.digest.hex}"
    offset = done = writer.offset
    world.emit(
        FetchStarted(artifact=artifact.name, size=artifact.size, offset=offset, source=source)
    )
    told = world.clock.monotonic()
    policy = errand.policy
    pace = _Pace(policy.limits.slowest_kib_per_second * KIB, since=told, done=done)
    answer = world.fetcher.stream(
        url, offset=offset, size=artifact.size, reach=policy.network.reach
    )
    flowing = asyncio.timeout(RATE_SECONDS)
    try:
        async with flowing, aclosing(answer) as pieces:
            async for piece in pieces:
                writer.write(piece)
                done += len(piece)
                now = world.clock.monotonic()
                if now - told >= PROGRESS_SECONDS:
                    world.emit(FetchProgress(artifact=artifact.name, done=done, size=artifact.size))
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


def _done(errand: _Errand, artifact: Artifact, source: str, seconds: float) -> None:
    errand.world.emit(
        FetchDone(
            artifact=artifact.name,
            sha256=artifact.digest.hex,
            size=artifact.size,
            source=source,
            seconds=seconds,
        )
    )


def _unavailable(boot: Boot, reason: str, liars: set[str]) -> Step:
    url = boot.candidate.url if boot.candidate else ""
    return Step(
        Trigger.UNAVAILABLE,
        replace(
            boot,
            candidate=None,
            manifest=None,
            shunned=boot.shunned | {url},
            liars=frozenset(liars),
            refusals=(*boot.refusals, reason),
        ),
    )


def _close(fetched: dict[str, Fetched]) -> None:
    for image in fetched.values():
        image.close()


HANDLER = Handler(
    state=State.FETCH,
    run=fetch,
    leads=frozenset({Trigger.FETCHED, Trigger.UNAVAILABLE}),
    raises=(NotConfigured, NotEnoughMemory, NoWayToStart, CannotStore),
    budget=86_400,
)
