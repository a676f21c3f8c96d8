"""Learning an artifact's chunks: the list over them is checked by the CID that was signed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

from phase_boot.fetching.errand import RATE_SECONDS, Errand
from phase_boot.fetching.events import ChunksUnknown
from phase_boot.machine.events import SourceFailed
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.chunks import ChunkList
from phase_boot.store.cid import Cid
from phase_boot.store.layout import dag_path
from phase_boot.store.outline import Outline, UnusableDag, WrongIndex
from phase_boot.trust.manifest import Artifact

MAX_PARTS: Final = 1 << 14
"""Requests for one list: more than any list needs, and an end to what would have none."""


async def chunk_list(errand: Errand, artifact: Artifact, root: Cid) -> ChunkList | None:
    """Return the chunks of an artifact, from whoever has the list; None if nobody does."""
    reason = "nobody has the list of its chunks"
    try:
        outline = Outline(root, artifact.size)
        for source in errand.sources:
            if outline.complete:
                break
            if not errand.lies(source):
                await _ask(errand, artifact, outline, f"{source}/{dag_path(root)}", source)
        if outline.complete:
            return await asyncio.to_thread(outline.chunks)
    except UnusableDag as failure:
        reason = str(failure)
    errand.emit(ChunksUnknown(artifact=artifact.name, reason=reason))
    return None


async def _ask(errand: Errand, artifact: Artifact, outline: Outline, url: str, source: str) -> None:
    """Take from one source what is missing of the list, or as much of it as it has."""
    try:
        for _ in range(MAX_PARTS):
            parts = outline.wanted()
            if not parts:
                return
            for part in parts:
                async with asyncio.timeout(RATE_SECONDS):
                    data = await _part(errand, url, part.offset, part.length)
                outline.take(part.offset, data)
    except WrongIndex as failure:
        reason = str(failure)
        errand.ban(source)
    except FetchFailed as failure:
        reason = f"the list of its chunks: {failure}"
    except TimeoutError:
        reason = f"the list of its chunks took more than {RATE_SECONDS} seconds"
    else:
        return
    failed = SourceFailed(source=source, artifact=artifact.name, reason=reason, again=False)
    errand.emit(failed)


async def _part(errand: Errand, url: str, offset: int, length: int) -> bytes:
    data = bytearray()
    answer = errand.fetcher.span(url, offset=offset, length=length, reach=errand.reach)
    async with aclosing(answer) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > length:
                raise FetchFailed(f"it sent more than {length} bytes", again=False)
    if not data:
        raise FetchFailed("it ends too early", again=False)
    return bytes(data)
