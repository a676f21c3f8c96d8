"""Downloads one artifact: from the store, by chunks from many sources, or whole from one.

The caller gets bytes that hash to what was signed, or an error. Chunks are preferred: each is
verified by itself, so a wrong one costs no more than itself, and a stopped download continues. The
whole file is the fallback where no source has the list of chunks, where the chunks of the list do
not hash to the artifact, and where the remaining sources send no byte ranges.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import replace
from itertools import chain
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid
from phase_boot.download.bitswap_source import BitswapSource
from phase_boot.download.context import ArtifactUnavailable, DownloadContext
from phase_boot.download.gateway_source import GatewaySource, file_path
from phase_boot.download.index_fetch import IndexBuilder, fetch_chunk_list
from phase_boot.download.mirror_source import MirrorSource
from phase_boot.download.provider_search import PATIENCE_SECONDS
from phase_boot.download.single_source import WholeFile, fetch_from, first_to_respond
from phase_boot.download.source import Source
from phase_boot.download.sources import Sources
from phase_boot.download.swarm import Swarm
from phase_boot.journal.content_events import ChunkListUnavailable, SourceServed, StoreCorrupt
from phase_boot.store.chunk_writer import ChunkWriter
from phase_boot.store.content_store import ContentStore, VerifiedFile
from phase_boot.store.errors import ContentMismatch, Corrupt, NotStored, StoreError
from phase_boot.url import below

STORE: Final = "store"
"""The name of the local store, where events name a source."""


async def fetch_artifact(
    context: DownloadContext, sources: Sources, artifact: Artifact, root: Cid | None = None
) -> tuple[VerifiedFile, str]:
    """Return the artifact, and the URL of the source that sent most of it.

    The second is `STORE` where no source sent anything. With ``root``, the CID of the artifact's
    DAG, its chunks come from the store and from all sources at once; without it, or where no source
    has the list of chunks, the whole file comes from one source.

    Raises:
        ArtifactUnavailable: no source delivered it.
        StoreError: the store cannot keep it.
    """
    started = context.clock.monotonic()
    try:
        stored = await asyncio.to_thread(context.store.open, artifact)
    except NotStored:
        pass
    except Corrupt as failure:
        context.emit(StoreCorrupt(artifact=artifact.name, reason=str(failure)))
    else:
        return _emit_done(context, stored, STORE, started)
    try:
        return await _fetch_from_servers(context, sources, artifact, root)
    except ArtifactUnavailable as failure:
        blocks = await sources.find_peers(context, artifact.name, root)
        if root is None or blocks is None:
            raise
        reasons = str(failure)
    try:
        return await _fetch_from_peers(context, sources.only(blocks), artifact, root)
    except ArtifactUnavailable as failure:
        raise ArtifactUnavailable(f"{reasons}; {failure}") from failure


async def _fetch_from_servers(
    context: DownloadContext, sources: Sources, artifact: Artifact, root: Cid | None
) -> tuple[VerifiedFile, str]:
    """Download from mirrors and gateways, and then from those that routers name."""
    try:
        return await _fetch_from(context, sources, artifact, root)
    except ArtifactUnavailable:
        if root is None:
            raise
        others = await sources.providers.gateways(context, artifact.name, root)
        # What a failed source sent already stays in the store.
        if not others:
            raise
        sources = replace(sources, mirrors=(), gateways=others)
        return await _fetch_from(context, sources, artifact, root)


async def _fetch_from_peers(
    context: DownloadContext, sources: Sources, artifact: Artifact, root: Cid
) -> tuple[VerifiedFile, str]:
    """Download by bitswap."""
    found = await fetch_chunk_list(context, sources, artifact, root)
    if found is None:
        raise ArtifactUnavailable("no peer of libp2p sent the list of its chunks")
    return await _fetch_chunked(context, sources, *found)


async def _fetch_from(
    context: DownloadContext, sources: Sources, artifact: Artifact, root: Cid | None
) -> tuple[VerifiedFile, str]:
    found = None
    if root is not None:
        found = await fetch_chunk_list(context, sources, artifact, root)
    if found is not None:
        return await _fetch_chunked(context, sources, *found)
    return await _fetch_whole(context, artifact, _whole_files(sources, artifact, root))


def _whole_files(sources: Sources, artifact: Artifact, root: Cid | None) -> Iterator[WholeFile]:
    """Yield where the whole artifact may be; a gateway without the list may have the file."""
    yield from _at_mirrors(sources.mirrors, artifact)
    if root is not None:
        yield from (WholeFile(base, below(base, file_path(root))) for base in sources.gateways)


def _at_mirrors(bases: Iterable[str], artifact: Artifact) -> Iterator[WholeFile]:
    return (WholeFile.at_mirror(base, artifact) for base in bases)


async def _fetch_chunked(
    context: DownloadContext, sources: Sources, index: IndexBuilder, chunks: ChunkList
) -> tuple[VerifiedFile, str]:
    started, artifact = context.clock.monotonic(), index.artifact
    try:
        writer = await asyncio.to_thread(context.store.chunk_writer, artifact, chunks)
        try:
            # Stored versions may share chunks even if they share no node of the DAG.
            await _reuse_local_chunks(context, writer)
            swarm = Swarm(context, writer)
            if not writer.complete:
                await _run_swarm(context, sources, index.root, writer, swarm)
            # A cancellation that is due comes here, and not before the thread has begun.
            await asyncio.sleep(0)
        except BaseException:
            writer.close()
            raise
        # From here on the thread owns the writer: this task may be cancelled while it works.
        fetched, car = await asyncio.gather(
            asyncio.to_thread(context.store.commit, writer),
            asyncio.to_thread(index.as_car, chunks),
        )
    except ContentMismatch as failure:
        context.emit(ChunkListUnavailable(artifact=artifact.name, reason=str(failure)))
        # A gateway would send the same chunks.
        return await _fetch_whole(context, artifact, _at_mirrors(sources.mirrors, artifact))
    except ArtifactUnavailable:
        if not swarm.without_ranges:
            raise
        whole_only = _at_mirrors(swarm.without_ranges, artifact)
        return await _fetch_whole(context, artifact, whole_only)
    try:
        if car is not None:
            with contextlib.suppress(StoreError):
                # Without it the next version reuses nothing of this one; no more is lost.
                await asyncio.to_thread(context.store.save_index, artifact, index.root, car)
    except BaseException:
        fetched.close()
        raise
    largest = max(swarm.bytes_by_source.items(), key=lambda item: item[1], default=(STORE, 0))[0]
    return _emit_done(context, fetched, largest, started)


def _emit_done(
    context: DownloadContext, fetched: VerifiedFile, source: str, started: float
) -> tuple[VerifiedFile, str]:
    """Report an artifact and its source, and return them; an error closes the artifact."""
    try:
        context.emit_done(fetched.artifact, source, context.clock.monotonic() - started)
    except BaseException:
        fetched.close()
        raise
    return fetched, source


async def _run_swarm(
    context: DownloadContext, sources: Sources, root: Cid, writer: ChunkWriter, swarm: Swarm
) -> None:
    """Download the missing chunks from all sources, and from peers that trackers name."""
    tracker = sources.tracker
    joining = tracker.join(context, root, writer, swarm) if tracker else nullcontext()
    async with joining as session:

        def mirror(base: str) -> Source:
            source = MirrorSource(context, base, writer.artifact)
            return source if session is None else session.limit_to_assigned(source)

        def gateway(base: str) -> Source:
            count = len(sources.gateways)
            return GatewaySource(context, base, root, writer.chunks, gateways=count)

        peers = (BitswapSource(blocks, writer.chunks) for blocks in sources.peers)

        async def add_providers() -> None:
            await context.clock.sleep(PATIENCE_SECONDS)
            name = writer.artifact.name
            for base in await sources.providers.gateways(context, name, root):
                if base not in sources.gateways:
                    swarm.add(gateway(base))

        async with (
            _add_discovered(sources, swarm, mirror),
            _in_background(add_providers()),
        ):
            await swarm.run(
                chain(map(mirror, sources.mirrors), map(gateway, sources.gateways), peers)
            )


@asynccontextmanager
async def _add_discovered(
    sources: Sources, swarm: Swarm, mirror: Callable[[str], Source]
) -> AsyncIterator[None]:
    """Add sources to the swarm as they are discovered."""

    async def add_each() -> None:
        async with aclosing(sources.discovery.new_sources()) as found:
            async for base in found:
                swarm.add(mirror(base))

    async with _in_background(add_each()):
        yield


@asynccontextmanager
async def _in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``work`` until the end of the block."""
    adding = asyncio.create_task(work)
    try:
        yield
    finally:
        adding.cancel()
        await asyncio.gather(adding, return_exceptions=True)


async def _reuse_local_chunks(context: DownloadContext, writer: ChunkWriter) -> None:
    """Copy the chunks that other versions of the artifact in the store share with this one."""
    started, before = context.clock.monotonic(), writer.bytes_present
    if writer.complete:
        return
    await asyncio.to_thread(_copy_chunks, context.store, writer)
    if writer.bytes_present > before:
        context.emit(
            SourceServed(
                source=STORE,
                artifact=writer.artifact.name,
                bytes=writer.bytes_present - before,
                seconds=context.clock.monotonic() - started,
            )
        )


def _copy_chunks(store: ContentStore, writer: ChunkWriter) -> None:
    for stored in store.reusable(writer.artifact):
        for run in stored.runs(writer.chunks, writer.have):
            writer.copy_chunks(run.first, run.end, stored.fileno(), run.offset)


async def _fetch_whole(
    context: DownloadContext, artifact: Artifact, places: Iterable[WholeFile]
) -> tuple[VerifiedFile, str]:
    """Download the whole file from one source after the other, the first to respond first."""
    reasons, allowed = list[str](), list[WholeFile]()
    for place in places:
        if context.is_banned(place.source):
            reasons.append(f"{place.source} has sent other bytes than were signed")
        else:
            allowed.append(place)
    allowed.sort(key=lambda place: context.is_suspect(place.source))
    if len(allowed) > 1:
        quickest = await first_to_respond(context, artifact, allowed)
        # The sort is stable: the others keep their order, and suspect ones come last.
        allowed.sort(key=lambda place: (place != quickest, context.is_suspect(place.source)))
    for place in allowed:
        started = context.clock.monotonic()
        try:
            fetched = await fetch_from(context, artifact, place)
        except ArtifactUnavailable as failure:
            reasons.append(str(failure))
            continue
        return _emit_done(context, fetched, place.source, started)
    raise ArtifactUnavailable("; ".join(reasons) or "the manifest names no source to fetch from")
