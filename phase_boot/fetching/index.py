"""Learning an artifact's chunks: the list over them is checked by the CID that was signed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final

from phase_boot.fetching.errand import RATE_SECONDS, Errand, Pace
from phase_boot.fetching.events import ChunksUnknown
from phase_boot.fetching.gateway import Blocks
from phase_boot.fetching.parts import part
from phase_boot.machine.events import SourceFailed
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.cas import Cas
from phase_boot.store.chunks import ChunkList
from phase_boot.store.cid import Cid
from phase_boot.store.dag import MAX_BLOCK
from phase_boot.store.layout import dag_path
from phase_boot.store.lowest import UnusableDag, WrongIndex
from phase_boot.store.outline import Outline
from phase_boot.store.tree import plant
from phase_boot.trust.manifest import Artifact

MAX_PARTS: Final = 1 << 14
"""Requests for one list: more than any list needs, and an end to what would have none."""
MAX_NODES: Final = 1 << 18
"""The same, where each node is asked for by its name."""


class Index:
    """What an artifact is made of, as far as it is known."""

    def __init__(self, artifact: Artifact, root: Cid) -> None:
        """Take what the manifest says; raise UnusableDag if it cannot be."""
        self.artifact = artifact
        self.root = root
        self.outline = Outline(root, artifact.size)
        self.looked = False
        """Whether older versions were asked for the nodes that they share."""
        self.shares = False
        """Whether an older version gave nodes of this one, which were not read from a source."""
        self._read: dict[int, bytes] = {}
        self._by_name = False
        """Whether nodes came by their names, and so without what stands around them in a list."""

    def take(self, offset: int, data: bytes) -> None:
        """Take a part of the list; raise WrongIndex or UnusableDag if it is none."""
        self.outline.take(offset, data)
        self._read[offset] = data

    def take_node(self, cid: Cid, block: bytes) -> None:
        """Take a node that was asked for by its name; raise WrongIndex or UnusableDag."""
        if not self.outline.give(cid, block):
            raise WrongIndex(f"a block is not {cid}")
        self._by_name = True

    @property
    def may_share(self) -> bool:
        """Whether older versions may have nodes that are missing, and were not asked for them."""
        return not self.looked and next(self.outline.missing(), None) is not None

    def give(self, cas: Cas) -> None:
        """Take from the older versions of a store what they share with this one.

        Raises:
            UnusableDag: the signed DAG is out of bounds.
        """
        self.looked = True
        for nodes in cas.older_nodes(self.artifact):
            for cid in list(self.outline.missing()):
                node = nodes.get(cid)
                if node is not None and self.outline.give(cid, node):
                    self.shares = True

    def packed(self, chunks: ChunkList) -> Iterable[bytes] | None:
        """Return the list as a file, for the versions to come; None if it cannot be made anew."""
        pieces = self._as_read()
        if pieces is not None:
            return pieces
        # Some seconds for the largest files, and the same bytes.
        tree = plant(chunks)
        return tree.car() if tree.root == self.root else None

    def _as_read(self) -> list[bytes] | None:
        """Return the whole list if all of it came from the network, else None.

        A part may end within a node, with which the next one begins.
        """
        whole = bytearray()
        for offset, data in sorted(self._read.items()):
            if offset > len(whole):
                return None
            whole[offset:] = data
        del whole[self.outline.length :]
        came = len(whole) == self.outline.length and not (self.shares or self._by_name)
        return [bytes(whole)] if came else None


async def learnt(errand: Errand, artifact: Artifact, root: Cid) -> tuple[Index, ChunkList] | None:
    """Return the chunks of an artifact, from whoever has the list; None if nobody does."""
    reason = "nobody has the list of its chunks"
    try:
        index = Index(artifact, root)
        for source in errand.sources:
            if index.outline.complete:
                break
            if not errand.lies(source):
                await _ask(errand, index, source, _read_list)
        for gateway in errand.gateways:
            if index.outline.complete:
                break
            if not errand.lies(gateway):
                await _ask(errand, index, gateway, _read_nodes)
        if index.outline.complete:
            return index, await asyncio.to_thread(index.outline.chunks)
    except UnusableDag as failure:
        reason = str(failure)
    errand.emit(ChunksUnknown(artifact=artifact.name, reason=reason))
    return None


async def _ask(
    errand: Errand, index: Index, source: str, read: Callable[[Errand, Index, str], Awaitable[None]]
) -> None:
    """Take from one source what is missing of the list, or as much of it as it has."""
    try:
        await read(errand, index, source)
    except WrongIndex as failure:
        reason = str(failure)
        errand.ban(source)
    except FetchFailed as failure:
        reason = f"the list of its chunks: {failure}"
    except TimeoutError:
        reason = f"the list of its chunks took more than {RATE_SECONDS} seconds"
    else:
        return
    failed = SourceFailed(source=source, artifact=index.artifact.name, reason=reason, again=False)
    errand.emit(failed)


async def _read_list(errand: Errand, index: Index, source: str) -> None:
    """Take what is missing out of a mirror's file."""
    url = f"{source}/{dag_path(index.root)}"
    for _ in range(MAX_PARTS):
        if index.may_share:
            await asyncio.to_thread(index.give, errand.cas)
        parts = index.outline.wanted()
        if not parts:
            return
        for each in parts:
            async with asyncio.timeout(RATE_SECONDS):
                data = await part(errand, url, each.offset, each.length)
            index.take(each.offset, data)
            if index.may_share:
                # Older versions have most of what else would be wanted.
                break


async def _read_nodes(errand: Errand, index: Index, gateway: str) -> None:
    """Take what is missing node by node, one level after the other."""
    blocks, left = Blocks(errand, gateway), MAX_NODES
    pace, length = Pace(errand.slowest, since=errand.clock.monotonic(), done=0), 0
    while names := list(index.outline.unread()):
        left -= len(names)
        if left < 0:
            raise FetchFailed(f"more than {MAX_NODES} nodes", again=False)
        coming = blocks.these((cid, MAX_BLOCK) for cid in names)
        async with asyncio.timeout(RATE_SECONDS) as flowing, aclosing(coming) as nodes:
            for cid in names:
                block = await anext(nodes)
                index.take_node(cid, block)
                length += len(block)
                pace.check(errand.clock.monotonic(), length)
                flowing.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
                if index.may_share:
                    break
        if index.may_share:
            await asyncio.to_thread(index.give, errand.cas)
