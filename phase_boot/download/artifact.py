"""Having one artifact, from the store or from whoever has it: hashed to what was signed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, nullcontext
from itertools import chain
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid
from phase_boot.download.context import ArtifactUnavailable, Errand
from phase_boot.download.events import ChunksUnknown, SourceServed
from phase_boot.download.gateway_source import GatewaySource
from phase_boot.download.index_fetch import IndexBuilder, fetch_chunk_list
from phase_boot.download.mirror_source import MirrorSource
from phase_boot.download.single_source import fetch_from, first_to_respond
from phase_boot.download.source import Source
from phase_boot.download.swarm import Swarm
from phase_boot.machine.events import StoreCorrupt
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.content_store import ContentStore, VerifiedFile
from phase_boot.store.errors import ContentMismatch, Corrupt, NotStored, StoreError

STORE: Final = "store"


async def fetch_artifact(errand: Errand, artifact: Artifact) -> tuple[VerifiedFile, str]:
    """Return the artifact and where most of it came from: the store, or a source.

    Where the manifest names its chunks they are taken from all sources at once, else the whole
    file from the first source that has it.

    Raises:
        ArtifactUnavailable: nobody had it.
        StoreError: it cannot be kept here.
    """
    started = errand.clock.monotonic()
    try:
        stored = await asyncio.to_thread(errand.cas.open, artifact)
    except NotStored:
        pass
    except Corrupt as failure:
        errand.emit(StoreCorrupt(artifact=artifact.name, reason=str(failure)))
    else:
        return _emit_done(errand, stored, STORE, started)
    root = errand.dags.get(artifact.name)
    found = await fetch_chunk_list(errand, artifact, root) if root is not None else None
    if found is not None:
        return await _fetch_chunked(errand, *found)
    return await _fetch_whole(errand, artifact, errand.sources)


async def _fetch_chunked(
    errand: Errand, index: IndexBuilder, chunks: ChunkList
) -> tuple[VerifiedFile, str]:
    started, artifact = errand.clock.monotonic(), index.artifact
    try:
        mosaic = await asyncio.to_thread(errand.cas.chunk_writer, artifact, chunks)
        try:
            # Asked even if none has a node of this one: they may share chunks all the same.
            await _reuse_local_chunks(errand, mosaic)
            swarm = Swarm(errand, mosaic)
            if not mosaic.complete:
                await _run_swarm(errand, index.root, mosaic, swarm)
        except BaseException:
            mosaic.close()
            raise
        # From here on it is the thread's: we may be cancelled while it works.
        fetched, packed = await asyncio.gather(
            asyncio.to_thread(errand.cas.commit, mosaic), asyncio.to_thread(index.as_car, chunks)
        )
    except ContentMismatch as failure:
        errand.emit(ChunksUnknown(artifact=artifact.name, reason=str(failure)))
        return await _fetch_whole(errand, artifact, errand.sources)
    except ArtifactUnavailable:
        if not swarm.without_ranges:
            raise
        return await _fetch_whole(errand, artifact, swarm.without_ranges)
    try:
        if packed is not None:
            with contextlib.suppress(StoreError):
                # Without it the next version is fetched as a whole, no more.
                await asyncio.to_thread(errand.cas.save_index, artifact, index.root, packed)
    except BaseException:
        fetched.close()
        raise
    most = max(swarm.bytes_by_source.items(), key=lambda item: item[1], default=(STORE, 0))[0]
    return _emit_done(errand, fetched, most, started)


def _emit_done(
    errand: Errand, fetched: VerifiedFile, source: str, started: float
) -> tuple[VerifiedFile, str]:
    """Report an artifact and its source, and return them; an error closes the artifact."""
    try:
        errand.done(fetched.artifact, source, errand.clock.monotonic() - started)
    except BaseException:
        fetched.close()
        raise
    return fetched, source


async def _run_swarm(errand: Errand, root: Cid, mosaic: ChunkWriter, swarm: Swarm) -> None:
    """Fetch what is missing, beside others who fetch it too where somebody tells of them."""
    joining = errand.circle.join(errand, root, mosaic, swarm) if errand.circle else nullcontext()
    async with joining as session:

        def mirror(base: str) -> Source:
            source = MirrorSource(errand, base, mosaic.artifact)
            return source if session is None else session.limit_to_assigned(source)

        async with _add_discovered(errand, swarm, mirror):
            gateways = (GatewaySource(errand, base, mosaic.chunks) for base in errand.gateways)
            await swarm.run(chain(map(mirror, errand.sources), gateways))


@asynccontextmanager
async def _add_discovered(
    errand: Errand, swarm: Swarm, mirror: Callable[[str], Source]
) -> AsyncIterator[None]:
    """Let whoever turns up be asked too."""

    async def add_each() -> None:
        async with aclosing(errand.company.new_sources()) as new_sources:
            async for base in new_sources:
                swarm.add(mirror(base))

    adding = asyncio.create_task(add_each())
    try:
        yield
    finally:
        adding.cancel()
        await asyncio.gather(adding, return_exceptions=True)


async def _reuse_local_chunks(errand: Errand, mosaic: ChunkWriter) -> None:
    """Take from older versions in the store the chunks that this one shares with them."""
    started, before = errand.clock.monotonic(), mosaic.bytes_present
    if mosaic.complete:
        return
    await asyncio.to_thread(_copy_chunks, errand.cas, mosaic)
    if mosaic.bytes_present > before:
        errand.emit(
            SourceServed(
                source=STORE,
                artifact=mosaic.artifact.name,
                bytes=mosaic.bytes_present - before,
                seconds=errand.clock.monotonic() - started,
            )
        )


def _copy_chunks(cas: ContentStore, mosaic: ChunkWriter) -> None:
    for older in cas.reusable(mosaic.artifact):
        for run in older.runs(mosaic.chunks, mosaic.have):
            mosaic.copy_chunks(run.first, run.end, older.fileno(), run.offset)


async def _fetch_whole(
    errand: Errand, artifact: Artifact, sources: Iterable[str]
) -> tuple[VerifiedFile, str]:
    sources = tuple(sources)
    reasons = [
        f"{source} has sent other bytes than were signed"
        for source in sources
        if errand.lies(source)
    ]
    honest = errand.health.ordered(
        [source for source in sources if not errand.lies(source)], errand.clock.monotonic()
    )
    if len(honest) > 1:
        quickest = await first_to_respond(errand, artifact, honest)
        # Stable: the others keep their order, those that stayed silent last.
        honest.sort(key=lambda source: (source != quickest, errand.is_suspect(source)))
    for source in honest:
        started = errand.clock.monotonic()
        try:
            fetched = await fetch_from(errand, artifact, source)
        except ArtifactUnavailable as failure:
            reasons.append(str(failure))
            continue
        return _emit_done(errand, fetched, source, started)
    raise ArtifactUnavailable("; ".join(reasons) or "the manifest names no place to fetch from")
