"""Learning an artifact's chunks: the list over them is checked by the CID that was signed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final, TypeAlias

from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid
from phase_boot.content.dag_builder import plant
from phase_boot.content.dag_index import Outline
from phase_boot.content.dag_pb import MAX_BLOCK
from phase_boot.content.leaf_level import UnusableDag, WrongIndex
from phase_boot.download.context import RATE_SECONDS, Errand, Pace
from phase_boot.download.events import ChunksUnknown
from phase_boot.download.gateway_source import Blocks
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.download.ranges import part
from phase_boot.machine.events import SourceFailed
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.cas import Cas
from phase_boot.store.layout import dag_path
from phase_boot.url import below

MAX_PARTS: Final = 1 << 14
"""Requests for one list: more than any list needs, and an end to what would have none."""
MAX_NODES: Final = 1 << 18
"""The same, where each node is asked for by its name."""
_Reader: TypeAlias = Callable[[Errand, "Index", str], Awaitable[None]]


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
        self._last: str | None = None
        """The source of the part before, whose last bytes may be the begin of a node."""
        self.taken = 0
        """Bytes that sources sent of it; it grows as long as one of them delivers."""
        self.lock = asyncio.Lock()
        """Held while the index changes: several sources are read at once, and a thread looks."""

    def take(self, offset: int, data: bytes, source: str) -> None:
        """Take a part of the list.

        Raises:
            WrongIndex: it is no part of the list, by nothing but what ``source`` sent.
            FetchFailed: it does not fit to what another source sent before; both are forgotten.
            UnusableDag: the signed DAG is out of bounds.
        """
        if all(part.offset != offset for part in self.outline.wanted()):
            # Another source was faster.
            return
        last, self._last = self._last, source
        self.taken += len(data)
        try:
            self.outline.take(offset, data)
        except WrongIndex as error:
            if last in {None, source}:
                raise
            raise FetchFailed(f"it does not continue what {last} sent", retryable=True) from error
        self._read[offset] = data

    def take_node(self, cid: Cid, block: bytes) -> None:
        """Take a node that was asked for by its name; raise WrongIndex or UnusableDag."""
        if not self.outline.give(cid, block):
            raise WrongIndex(f"a block is not {cid}")
        self._by_name = True
        self.taken += len(block)

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
        readers = [
            *((source, _read_list) for source in errand.sources),
            *((gateway, _read_nodes) for gateway in errand.gateways),
        ]
        honest = [reader for reader in readers if not errand.lies(reader[0])]
        await _read(errand, index, sorted(honest, key=lambda each: errand.is_suspect(each[0])))
        if index.outline.complete:
            return index, await asyncio.to_thread(index.outline.chunks)
    except UnusableDag as failure:
        reason = str(failure)
    errand.emit(ChunksUnknown(artifact=artifact.name, reason=reason))
    return None


async def _read(errand: Errand, index: Index, readers: Iterable[tuple[str, _Reader]]) -> None:
    """Read the index from the first source; ask the next one too where nothing comes (hedging)."""
    pending, running = deque(readers), dict[asyncio.Task[None], str]()
    silent = False
    try:
        while not index.outline.complete and (running or pending):
            if pending and (silent or not running):
                source, read = pending.popleft()
                running[asyncio.create_task(_ask(errand, index, source, read))] = source
            taken = index.taken
            done, _ = await asyncio.wait(
                running,
                timeout=HEDGE_SECONDS if pending else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            silent = not done and index.taken == taken
            for source in running.values() if silent else ():
                errand.note_failure(source)
            for task in done:
                del running[task]
                task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _ask(errand: Errand, index: Index, source: str, read: _Reader) -> None:
    """Take from one source what is missing of the list, or as much of it as it has."""
    try:
        await read(errand, index, source)
    except WrongIndex as failure:
        reason = str(failure)
        errand.ban(source)
    except FetchFailed as failure:
        reason = f"the list of its chunks: {failure}"
        if failure.retryable:
            errand.note_failure(source)
    except TimeoutError:
        errand.note_failure(source)
        reason = f"the list of its chunks took more than {RATE_SECONDS} seconds"
    else:
        errand.health.delivered(source)
        return
    failed = SourceFailed(source=source, artifact=index.artifact.name, reason=reason, again=False)
    errand.emit(failed)


async def _read_list(errand: Errand, index: Index, source: str) -> None:
    """Take what is missing out of a mirror's file."""
    url = below(source, dag_path(index.root))
    for _ in range(MAX_PARTS):
        if index.may_share:
            async with index.lock:
                await asyncio.to_thread(index.give, errand.cas)
        parts = index.outline.wanted()
        if not parts:
            return
        for each in parts:
            async with asyncio.timeout(RATE_SECONDS):
                data = await part(errand, url, each.offset, each.length)
            async with index.lock:
                index.take(each.offset, data, source)
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
            raise FetchFailed(f"more than {MAX_NODES} nodes", retryable=False)
        coming = blocks.these((cid, MAX_BLOCK) for cid in names)
        async with asyncio.timeout(RATE_SECONDS) as flowing, aclosing(coming) as nodes:
            for cid in names:
                block = await anext(nodes)
                async with index.lock:
                    index.take_node(cid, block)
                length += len(block)
                pace.check(errand.clock.monotonic(), length)
                flowing.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
                if index.may_share:
                    break
        if index.may_share:
            async with index.lock:
                await asyncio.to_thread(index.give, errand.cas)
