"""Having one artifact, from the store or from whoever has it: hashed to what was signed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from phase_boot.fetching.errand import Errand, Unobtainable
from phase_boot.fetching.events import ChunksUnknown
from phase_boot.fetching.index import chunk_list
from phase_boot.fetching.mirror import Mirror
from phase_boot.fetching.swarm import Swarm
from phase_boot.fetching.whole import from_source
from phase_boot.machine.events import StoreCorrupt
from phase_boot.store.cas import Fetched
from phase_boot.store.chunks import ChunkList
from phase_boot.store.errors import Corrupt, Missing, WrongContent
from phase_boot.trust.manifest import Artifact


async def obtain(errand: Errand, artifact: Artifact) -> tuple[Fetched, str]:
    """Return the artifact and where most of it came from: the store, or a source.

    Where the manifest names its chunks they are taken from all sources at once, else the whole
    file from the first source that has it.

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
        errand.done(artifact, "store", 0.0)
        return stored, "store"
    root = errand.dags.get(artifact.name)
    chunks = await chunk_list(errand, artifact, root) if root is not None else None
    if chunks is not None:
        return await _by_chunks(errand, artifact, chunks)
    return await _as_a_whole(errand, artifact, errand.sources)


async def _by_chunks(errand: Errand, artifact: Artifact, chunks: ChunkList) -> tuple[Fetched, str]:
    started = errand.clock.monotonic()
    try:
        mosaic = await asyncio.to_thread(errand.cas.mosaic, artifact, chunks)
        swarm = Swarm(errand, mosaic)
        try:
            await swarm.run(Mirror(errand, source, artifact) for source in errand.sources)
        except BaseException:
            mosaic.close()
            raise
        # From here on it is the thread's: we may be cancelled while it works.
        fetched = await asyncio.to_thread(errand.cas.commit, mosaic)
    except WrongContent as failure:
        errand.emit(ChunksUnknown(artifact=artifact.name, reason=str(failure)))
        return await _as_a_whole(errand, artifact, errand.sources)
    except Unobtainable:
        if not swarm.whole_only:
            raise
        return await _as_a_whole(errand, artifact, swarm.whole_only)
    most = max(swarm.served.items(), key=lambda item: item[1], default=("store", 0))[0]
    errand.done(artifact, most, errand.clock.monotonic() - started)
    return fetched, most


async def _as_a_whole(
    errand: Errand, artifact: Artifact, sources: Iterable[str]
) -> tuple[Fetched, str]:
    reasons = []
    for source in sources:
        if errand.lies(source):
            reasons.append(f"{source} has sent other bytes than were signed")
            continue
        started = errand.clock.monotonic()
        try:
            fetched = await from_source(errand, artifact, source)
        except Unobtainable as failure:
            reasons.append(str(failure))
            continue
        errand.done(artifact, source, errand.clock.monotonic() - started)
        return fetched, source
    raise Unobtainable("; ".join(reasons) or "the manifest names no place to fetch from")
