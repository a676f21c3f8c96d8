"""Downloads several artifacts at once, so that a distant source is never waited for in vain.

An artifact begins with round trips for its list of chunks and ends with the slowest of its last
requests. Others fill the line meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from phase_boot.content.artifact import Artifact
from phase_boot.content.cid import Cid
from phase_boot.download.artifact import fetch_artifact
from phase_boot.download.context import DownloadContext
from phase_boot.download.sources import Sources

AT_ONCE: Final = 3
"""Artifacts that are downloaded at once; a release has at least as many."""


async def fill_store(
    context: DownloadContext, sources: Sources, wanted: Mapping[Artifact, Cid | None]
) -> None:
    """Download the artifacts to the store, each with the CID of its DAG where that is known.

    The first failure stops the other downloads; their chunks stay in the store.

    Raises:
        ArtifactUnavailable: no source delivered one of them.
        StoreError: the store cannot keep one of them.
    """
    free = asyncio.Semaphore(AT_ONCE)

    async def fill(artifact: Artifact, root: Cid | None) -> None:
        async with free:
            fetched, _ = await fetch_artifact(context, sources, artifact, root)
            fetched.close()

    downloads = [asyncio.create_task(fill(*each)) for each in wanted.items()]
    try:
        await asyncio.gather(*downloads)
    finally:
        for download in downloads:
            download.cancel()
        await asyncio.gather(*downloads, return_exceptions=True)
