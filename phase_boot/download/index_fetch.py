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
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.dag_pb import MAX_BLOCK
from phase_boot.content.leaf_level import IndexMismatch, InvalidDag
from phase_boot.download.context import RATE_SECONDS, Errand, MinRateCheck
from phase_boot.download.events import ChunksUnknown
from phase_boot.download.gateway_source import BlockClient
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.download.ranges import read_range
from phase_boot.machine.events import SourceFailed
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.content_store import ContentStore
from phase_boot.store.layout import dag_path
from phase_boot.url import below

MAX_RANGES: Final = 1 << 14
"""Requests for one list: more than any list needs, and an end to what would have none."""
MAX_NODES: Final = 1 << 18
"""The same, where each node is asked for by its name."""
_ReadIndex: TypeAlias = Callable[[Errand, "IndexBuilder", str], Awaitable[None]]


class IndexBuilder:
    """What an artifact is made of, as far as it is known."""

    def __init__(self, artifact: Artifact, root: Cid) -> None:
        """Take what the manifest says; raise InvalidDag if it cannot be."""
        self.artifact = artifact
        self.root = root
        self.outline = DagIndex(root, artifact.size)
        self.local_checked = False
        """Whether older versions were asked for the nodes that they share."""
        self.used_local = False
        """Whether an older version gave nodes of this one, which were not read from a source."""
        self._read: dict[int, bytes] = {}
        self._by_name = False
        """Whether nodes came by their names, and so without what stands around them in a list."""
        self._last_source: str | None = None
        """Source of the previous range, whose last bytes may begin the next node."""
        self.bytes_received = 0
        """Bytes that sources sent of it; it grows as long as one of them delivers."""
        self.lock = asyncio.Lock()
        """Held while the index changes: several sources are read at once, and a thread looks."""

    def feed_range(self, offset: int, data: bytes, source: str) -> None:
        """Add a range of the list.

        Raises:
            IndexMismatch: it is no read_range of the list, by nothing but what ``source`` sent.
            FetchFailed: it does not fit to what another source sent before; both are forgotten.
            InvalidDag: the signed DAG is out of bounds.
        """
        if all(read_range.offset != offset for read_range in self.outline.needed_ranges()):
            # Another source was faster.
            return
        last, self._last_source = self._last_source, source
        self.bytes_received += len(data)
        try:
            self.outline.feed(offset, data)
        except IndexMismatch as error:
            if last in {None, source}:
                raise
            raise FetchFailed(f"it does not continue what {last} sent", retryable=True) from error
        self._read[offset] = data

    def add_node(self, cid: Cid, block: bytes) -> None:
        """Take a node that was asked for by its name; raise IndexMismatch or InvalidDag."""
        if not self.outline.add_block(cid, block):
            raise IndexMismatch(f"a block is not {cid}")
        self._by_name = True
        self.bytes_received += len(block)

    @property
    def should_check_local(self) -> bool:
        """Whether older versions may have nodes that are missing, and were not asked for them."""
        return not self.local_checked and next(self.outline.missing_cids(), None) is not None

    def add_local_nodes(self, cas: ContentStore) -> None:
        """Take from the older versions of a store what they share with this one.

        Raises:
            InvalidDag: the signed DAG is out of bounds.
        """
        self.local_checked = True
        for nodes in cas.reusable_nodes(self.artifact):
            for cid in list(self.outline.missing_cids()):
                node = nodes.get(cid)
                if node is not None and self.outline.add_block(cid, node):
                    self.used_local = True

    def as_car(self, chunks: ChunkList) -> Iterable[bytes] | None:
        """Return the list as a file, for the versions to come; None if it cannot be made anew."""
        pieces = self._downloaded_car()
        if pieces is not None:
            return pieces
        # Some seconds for the largest files, and the same bytes.
        tree = build_dag(chunks)
        return tree.car() if tree.root == self.root else None

    def _downloaded_car(self) -> list[bytes] | None:
        """Return the whole list if all of it came from the network, else None.

        A read_range may end within a node, with which the next one begins.
        """
        whole = bytearray()
        for offset, data in sorted(self._read.items()):
            if offset > len(whole):
                return None
            whole[offset:] = data
        del whole[self.outline.length :]
        came = len(whole) == self.outline.length and not (self.used_local or self._by_name)
        return [bytes(whole)] if came else None


async def fetch_chunk_list(
    errand: Errand, artifact: Artifact, root: Cid
) -> tuple[IndexBuilder, ChunkList] | None:
    """Return the chunks of an artifact, from whoever has the list; None if nobody does."""
    reason = "nobody has the list of its chunks"
    try:
        index = IndexBuilder(artifact, root)
        readers = [
            *((source, _read_list) for source in errand.sources),
            *((gateway, _read_nodes) for gateway in errand.gateways),
        ]
        honest = [reader for reader in readers if not errand.lies(reader[0])]
        await _read(errand, index, sorted(honest, key=lambda each: errand.is_suspect(each[0])))
        if index.outline.complete:
            return index, await asyncio.to_thread(index.outline.chunks)
    except InvalidDag as failure:
        reason = str(failure)
    errand.emit(ChunksUnknown(artifact=artifact.name, reason=reason))
    return None


async def _read(
    errand: Errand, index: IndexBuilder, readers: Iterable[tuple[str, _ReadIndex]]
) -> None:
    """Read the index from the first source; ask the next one too where nothing comes (hedging)."""
    pending, running = deque(readers), dict[asyncio.Task[None], str]()
    silent = False
    try:
        while not index.outline.complete and (running or pending):
            if pending and (silent or not running):
                source, read = pending.popleft()
                running[asyncio.create_task(_read_from(errand, index, source, read))] = source
            taken = index.bytes_received
            done, _ = await asyncio.wait(
                running,
                timeout=HEDGE_SECONDS if pending else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            silent = not done and index.bytes_received == taken
            for source in running.values() if silent else ():
                errand.note_failure(source)
            for task in done:
                del running[task]
                task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _read_from(errand: Errand, index: IndexBuilder, source: str, read: _ReadIndex) -> None:
    """Take from one source what is missing of the list, or as much of it as it has."""
    try:
        await read(errand, index, source)
    except IndexMismatch as failure:
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


async def _read_list(errand: Errand, index: IndexBuilder, source: str) -> None:
    """Take what is missing out of a mirror's file."""
    url = below(source, dag_path(index.root))
    for _ in range(MAX_RANGES):
        if index.should_check_local:
            async with index.lock:
                await asyncio.to_thread(index.add_local_nodes, errand.cas)
        parts = index.outline.needed_ranges()
        if not parts:
            return
        for each in parts:
            async with asyncio.timeout(RATE_SECONDS):
                data = await read_range(errand, url, each.offset, each.length)
            async with index.lock:
                index.feed_range(each.offset, data, source)
            if index.should_check_local:
                # Older versions have most of what else would be wanted.
                break


async def _read_nodes(errand: Errand, index: IndexBuilder, gateway: str) -> None:
    """Take what is missing node by node, one level after the other."""
    blocks, left = BlockClient(errand, gateway), MAX_NODES
    pace, length = MinRateCheck(errand.slowest, since=errand.clock.monotonic(), done=0), 0
    while names := list(index.outline.next_cids()):
        left -= len(names)
        if left < 0:
            raise FetchFailed(f"more than {MAX_NODES} nodes", retryable=False)
        coming = blocks.fetch((cid, MAX_BLOCK) for cid in names)
        async with asyncio.timeout(RATE_SECONDS) as flowing, aclosing(coming) as nodes:
            for cid in names:
                block = await anext(nodes)
                async with index.lock:
                    index.add_node(cid, block)
                length += len(block)
                pace.check(errand.clock.monotonic(), length)
                flowing.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
                if index.should_check_local:
                    break
        if index.should_check_local:
            async with index.lock:
                await asyncio.to_thread(index.add_local_nodes, errand.cas)
