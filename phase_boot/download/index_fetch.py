"""Downloads the list of an artifact's chunks, verified by the signed CID of its DAG.

Mirrors have the nodes of the DAG in one file, a CAR, of which only the missing ranges are read.
Gateways have the same file by a CID of its own, if it was published, and send each node by its CID.
Nodes that a stored version has too are read from the store.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial
from typing import Final, TypeAlias

from phase_boot.content.artifact import Artifact
from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.dag_index import DagIndex
from phase_boot.content.dag_pb import MAX_BLOCK
from phase_boot.content.leaf_level import IndexMismatch, InvalidDag
from phase_boot.download.bitswap_source import BITSWAP, PeerBlocks
from phase_boot.download.block_client import BlockClient, in_order
from phase_boot.download.context import DownloadContext
from phase_boot.download.gateway_formats import Format
from phase_boot.download.gateway_source import file_path
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.download.rate import KIB, RATE_SECONDS, MinRateCheck
from phase_boot.download.source import read_range
from phase_boot.download.sources import Sources
from phase_boot.journal.content_events import ChunkListUnavailable, SourceFailed
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.store.content_store import ContentStore
from phase_boot.store.layout import dag_path
from phase_boot.url import below

MAX_RANGES: Final = 1 << 14
"""Bound of the rounds of requests for one CAR: no valid CAR needs as many."""
MAX_NODES: Final = 1 << 18
"""Bound of the nodes that are requested from one gateway."""
RANGES_AT_ONCE: Final = 4
"""Ranges of one CAR that are requested at once, so that a distant server costs few round trips."""
QUICK_RATE: Final = 64 * KIB
"""Bytes per second of a range below which the next ones are requested one at a time."""
JUDGED_BYTES: Final = 8 * KIB
"""A shorter range is over before its rate is known."""
_ReadIndex: TypeAlias = Callable[[DownloadContext, "IndexBuilder", str], Awaitable[None]]


class IndexBuilder:
    """The DAG of an artifact as far as it is known, put together from several sources."""

    def __init__(self, artifact: Artifact, root: Cid) -> None:
        """Start with the manifest's root CID and size; raise InvalidDag if they are impossible."""
        self.artifact = artifact
        self.root = root
        self.dag_index = DagIndex(root, artifact.size)
        self.local_checked = False
        """Whether the nodes of stored versions were looked through."""
        self.used_local = False
        """Whether nodes came from a stored version, and not from a source."""
        self._read: dict[int, bytes] = {}
        self._by_name = False
        """Whether nodes came by their CIDs, so that the rest of the CAR is missing."""
        self._last_source: str | None = None
        """Source of the previous range, whose last bytes may begin the next node."""
        self.bytes_received = 0
        """Bytes that sources sent of it; it grows while one of them delivers."""
        self.lock = asyncio.Lock()
        """Held while the index changes: several sources and a thread change it at once."""

    def feed_range(self, offset: int, data: bytes, source: str) -> None:
        """Add a range of the list.

        Raises:
            IndexMismatch: ``source`` sent other bytes than the list has.
            FetchFailed: it does not continue what another source sent; both are discarded.
            InvalidDag: the signed DAG is out of bounds.
        """
        if all(wanted.offset != offset for wanted in self.dag_index.needed_ranges()):
            # Another source has sent it already.
            return
        last, self._last_source = self._last_source, source
        self.bytes_received += len(data)
        try:
            self.dag_index.feed(offset, data)
        except IndexMismatch as error:
            if last in {None, source}:
                raise
            raise FetchFailed(f"it does not continue what {last} sent", retryable=True) from error
        self._read[offset] = data

    def add_node(self, cid: Cid, block: bytes) -> None:
        """Add a node that was requested by its CID; raise IndexMismatch or InvalidDag."""
        if not self.dag_index.add_block(cid, block):
            raise IndexMismatch(f"a block is not {cid}")
        self._by_name = True
        self.bytes_received += len(block)

    @property
    def should_check_local(self) -> bool:
        """Whether stored versions may have missing nodes and were not looked through yet."""
        return not self.local_checked and next(self.dag_index.missing_cids(), None) is not None

    def add_local_nodes(self, cas: ContentStore) -> None:
        """Add the missing nodes that stored versions share with this one.

        Raises:
            InvalidDag: the signed DAG is out of bounds.
        """
        self.local_checked = True
        for nodes in cas.reusable_nodes(self.artifact):
            for cid in list(self.dag_index.missing_cids()):
                node = nodes.get(cid)
                if node is not None and self.dag_index.add_block(cid, node):
                    self.used_local = True

    def as_car(self, chunks: ChunkList) -> Iterable[bytes] | None:
        """Return the CAR, for reuse by later versions; None if it cannot be rebuilt."""
        car = self._downloaded_car()
        if car is not None:
            return car
        # Rebuilding takes some seconds for the largest files, and gives the same bytes.
        tree = build_dag(chunks)
        return tree.car() if tree.root == self.root else None

    def _downloaded_car(self) -> list[bytes] | None:
        """Return the whole CAR if all of it came from mirrors, else None.

        A range may end within a node, and the next one begins with that node.
        """
        whole = bytearray()
        for offset, data in sorted(self._read.items()):
            if offset > len(whole):
                return None
            whole[offset:] = data
        del whole[self.dag_index.length :]
        came = len(whole) == self.dag_index.length and not (self.used_local or self._by_name)
        return [bytes(whole)] if came else None


async def fetch_chunk_list(
    context: DownloadContext, sources: Sources, artifact: Artifact, root: Cid
) -> tuple[IndexBuilder, ChunkList] | None:
    """Return the chunks of an artifact; None, after an event, if no source has their list."""
    reason = "no source has the list of its chunks"
    try:
        index = IndexBuilder(artifact, root)
        readers: list[tuple[str, _ReadIndex]] = [
            *((mirror, _read_car) for mirror in sources.mirrors),
            *_at_gateways(context, sources, root),
            *((BITSWAP, partial(_read_peers, blocks=blocks)) for blocks in sources.peers),
        ]
        allowed = [reader for reader in readers if not context.is_banned(reader[0])]
        await _read(context, index, sorted(allowed, key=lambda each: context.is_suspect(each[0])))
        if index.dag_index.complete:
            return index, await asyncio.to_thread(index.dag_index.chunks)
    except InvalidDag as failure:
        reason = str(failure)
    context.emit(ChunkListUnavailable(artifact=artifact.name, reason=reason))
    return None


def _at_gateways(
    context: DownloadContext, sources: Sources, root: Cid
) -> Iterator[tuple[str, _ReadIndex]]:
    """Yield how the list is read from each gateway, the fastest ways first.

    The file has one answer for many nodes. A gateway may lack it, or serve no files.
    """
    listed = sources.chunk_lists.get(root)
    if listed is not None:
        read_file = partial(_read_list_file, listed=listed)
        serving = (each for each in sources.gateways if context.formats.may_send_files(each))
        yield from ((gateway, read_file) for gateway in serving)
    read_nodes = partial(_read_gateway, gateways=len(sources.gateways))
    yield from ((gateway, read_nodes) for gateway in sources.gateways)


async def _read(
    context: DownloadContext, index: IndexBuilder, readers: Iterable[tuple[str, _ReadIndex]]
) -> None:
    """Read the index from one source; add the next one where no byte comes (hedging)."""
    pending, running = deque(readers), dict[asyncio.Task[None], str]()
    silent = False
    try:
        while not index.dag_index.complete and (running or pending):
            if pending and (silent or not running):
                source, read = pending.popleft()
                running[asyncio.create_task(_read_from(context, index, source, read))] = source
            taken = index.bytes_received
            done, _ = await asyncio.wait(
                running,
                timeout=HEDGE_SECONDS if pending else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            silent = not done and index.bytes_received == taken
            for source in running.values() if silent else ():
                context.note_failure(source)
            for task in done:
                del running[task]
                task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _read_from(
    context: DownloadContext, index: IndexBuilder, source: str, read: _ReadIndex
) -> None:
    """Read the missing parts of the list from one source; report its failure."""
    try:
        await read(context, index, source)
    except IndexMismatch as failure:
        reason = str(failure)
        context.ban(source)
    except FetchFailed as failure:
        reason = f"the list of its chunks: {failure}"
        if failure.retryable:
            context.note_failure(source)
    except TimeoutError:
        context.note_failure(source)
        reason = f"the list of its chunks took more than {RATE_SECONDS} seconds"
    else:
        context.health.delivered(source)
        return
    failed = SourceFailed(
        source=source, artifact=index.artifact.name, reason=reason, retryable=False
    )
    context.emit(failed)


async def _read_car(context: DownloadContext, index: IndexBuilder, source: str) -> None:
    """Read the missing ranges of a mirror's CAR."""
    await _read_ranges(context, index, source, below(source, dag_path(index.root)))


async def _read_list_file(
    context: DownloadContext, index: IndexBuilder, gateway: str, *, listed: Cid
) -> None:
    """Read the missing ranges of the file ``listed`` from a gateway."""
    try:
        came = await _read_ranges(context, index, gateway, below(gateway, file_path(listed)))
    except IndexMismatch as failure:
        # The manifest may name a wrong file. The nodes are requested then, and a wrong one bans.
        raise FetchFailed(str(failure), retryable=False) from failure
    if came:
        # So the artifact is requested in several spans from the start.
        context.formats.sent(gateway, Format.FILE)


async def _read_ranges(
    context: DownloadContext, index: IndexBuilder, source: str, url: str
) -> bool:
    """Read the missing ranges of the CAR at ``url``; return whether a valid one came."""
    window, came = 1, False

    async def request(offset: int, length: int) -> bytes:
        nonlocal window
        began = context.clock.monotonic()
        async with asyncio.timeout(RATE_SECONDS):
            data = await read_range(context, url, offset, length)
        if len(data) >= JUDGED_BYTES:
            # On a slow line several would all come too late.
            seconds = context.clock.monotonic() - began
            window = RANGES_AT_ONCE if len(data) >= QUICK_RATE * seconds else 1
        return data

    for _ in range(MAX_RANGES):
        if index.should_check_local:
            async with index.lock:
                await asyncio.to_thread(index.add_local_nodes, context.store)
        parts = index.dag_index.needed_ranges()
        if not parts:
            break
        wanted = ((each.offset, each.length) for each in parts)
        async with aclosing(in_order(wanted, request, lambda: window)) as ranges:
            for each in parts:
                data = await anext(ranges)
                async with index.lock:
                    index.feed_range(each.offset, data, source)
                came = True
                if index.should_check_local:
                    # Stored versions have most of the nodes that would be read next.
                    break
    return came


async def _read_gateway(
    context: DownloadContext, index: IndexBuilder, gateway: str, *, gateways: int
) -> None:
    """Read the missing nodes from a gateway."""
    await _read_nodes(context, index, BlockClient(context, gateway, gateways=gateways))


async def _read_peers(
    context: DownloadContext, index: IndexBuilder, _name: str, *, blocks: PeerBlocks
) -> None:
    """Read the missing nodes by bitswap."""
    await _read_nodes(context, index, blocks)


async def _read_nodes(
    context: DownloadContext, index: IndexBuilder, blocks: BlockClient | PeerBlocks
) -> None:
    """Read the missing nodes by their CIDs, one level of the DAG after the other."""
    left = MAX_NODES
    rate_check, length = MinRateCheck(context.min_rate, since=context.clock.monotonic(), done=0), 0
    while cids := list(index.dag_index.next_cids()):
        left -= len(cids)
        if left < 0:
            raise FetchFailed(f"more than {MAX_NODES} nodes", retryable=False)
        received = blocks.fetch((cid, MAX_BLOCK) for cid in cids)
        async with asyncio.timeout(RATE_SECONDS) as stall, aclosing(received) as nodes:
            for cid in cids:
                block = await anext(nodes)
                async with index.lock:
                    index.add_node(cid, block)
                length += len(block)
                rate_check.check(context.clock.monotonic(), length)
                stall.reschedule(asyncio.get_running_loop().time() + RATE_SECONDS)
                if index.should_check_local:
                    break
        if index.should_check_local:
            async with index.lock:
                await asyncio.to_thread(index.add_local_nodes, context.store)
