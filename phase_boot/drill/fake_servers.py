"""HTTP servers in memory behind `ports.fetcher.Fetcher`: mirrors, gateways, peers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from phase_boot.content.chunk_list import ChunkList
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.digest import Digest
from phase_boot.download.block_client import block_path
from phase_boot.drill.sample_manifest import INITRAMFS, KERNEL, ROOTFS, document, signed
from phase_boot.drill.virtual_time import FOR_EVER
from phase_boot.ports.fetcher import FetchFailed, Intercepted, RangesUnsupported, ignore_redirect
from phase_boot.trust.manifest import MAX_SIZE
from policies.model import Reach

PIECE = 1000
CHUNK = 700
_ARTIFACTS = {"kernel": KERNEL, "initramfs": INITRAMFS, "rootfs": ROOTFS}


@dataclass
class FakeServer:
    """One server: its files by path, and its misbehaviour."""

    files: dict[str, bytes]
    tamper: Callable[[str, bytes], bytes] = lambda _path, data: data
    """Changes the content of a response, by its path."""
    vanish_after: int | None = None
    """Bytes of one response after which the connection is lost, once."""
    silent_after: int | None = None
    """Bytes of one response after which it stalls for ever."""
    busy_every: int | None = None
    up_at: float = 0.0
    """Loop time in seconds before which connections are refused."""
    busy_until: float = 0.0
    """Loop time in seconds before which every request is answered with 503."""
    retry_after: float | None = None
    """`Retry-After` of a 503 response, in seconds."""
    hangs: bool = False
    portal: str | None = None
    """The login page that a captive portal puts in place of this server."""
    piece_seconds: float = 0.01
    """Seconds for each PIECE bytes."""
    quick: frozenset[str] = frozenset()
    """Paths that are sent without delay."""
    endless: str | None = None
    """The path whose response never ends."""
    moved: tuple[str, ...] = ()
    """Hosts that its documents are redirected to."""
    whole_only: bool = False
    """Whether it does not support ranges."""
    tracker: Callable[[bytes], bytes] | None = None
    """Its tracker, which answers announcements; None if it has none."""
    requests: Counter[str] = field(default_factory=Counter)
    request_times: list[float] = field(default_factory=list)
    """Loop time of each request, in seconds."""


def dags_of_all() -> dict[str, int]:
    """Return the root of each artifact's DAG, and the artifact's size."""
    return {str(build_dag(chunked(data)).root): len(data) for data in _ARTIFACTS.values()}


def server_with_chunks(**changes: object) -> FakeServer:
    """Return a mirror whose manifest names the chunks of each artifact."""
    trees = {name: build_dag(chunked(data)) for name, data in _ARTIFACTS.items()}
    dags = {name: str(tree.root) for name, tree in trees.items()}
    server = good_server(**({"dags": dags} | changes))
    for tree in trees.values():
        server.files[f"dag/{tree.root}.car"] = b"".join(tree.car())
    return server


def gateway_with_chunks() -> FakeServer:
    """Return a gateway with the blocks of each artifact, and no file."""
    files: dict[str, bytes] = {}
    for data in (KERNEL, INITRAMFS, ROOTFS):
        files |= blocks_of(data, chunked(data))
    return FakeServer(files)


def blocks_of(data: bytes, chunks: ChunkList) -> dict[str, bytes]:
    """Return the nodes and chunks of a file by their gateway paths."""
    blocks = dict(build_dag(chunks).nodes)
    for chunk in chunks:
        block = data[chunk.offset : chunk.offset + chunk.size]
        blocks[Cid.of(Codec.RAW, block)] = block
    return {block_path(cid): block for cid, block in blocks.items()}


def chunked(data: bytes) -> ChunkList:
    """Cut ``data`` into chunks of CHUNK bytes; publishers cut at content-defined boundaries."""
    pieces = (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))
    return ChunkList.of((bytes.fromhex(Digest.of(piece).hex), len(piece)) for piece in pieces)


def good_server(**changes: object) -> FakeServer:
    """Return a mirror with the three artifacts and a signed manifest."""
    files = {f"cas/sha256/{Digest.of(data).hex}": data for data in (KERNEL, INITRAMFS, ROOTFS)}
    files["stable/amd64/manifest.json"] = signed(document(**({"mirrors": []} | changes)))
    return FakeServer(files)


class FakeFetcher:
    """Implements `ports.fetcher.Fetcher` on servers by their base URL."""

    def __init__(self, **servers: FakeServer) -> None:
        self.servers = {f"http://{name}": server for name, server in servers.items()}
        self.offsets: list[tuple[str, int]] = []
        self.spans: list[tuple[str, int, int]] = []
        self.reaches: set[Reach] = set()
        self.redirects: set[int] = set()

    def manifest_url(self, name: str) -> str:
        return f"http://{name}/stable/amd64/manifest.json"

    async def read(
        self,
        url: str,
        *,
        limit: int,
        reach: Reach,
        redirects: int = 0,
        on_redirect: Callable[[str], None] = ignore_redirect,
    ) -> bytes:
        self.reaches.add(reach)
        self.redirects.add(redirects)
        for base, server in self.servers.items():
            for target in server.moved if url.startswith(f"{base}/") else ():
                on_redirect(target)
        data = bytearray()
        async for piece in self._answer(url, 0):
            data += piece
            if len(data) > limit:
                raise FetchFailed(f"it is larger than {limit} bytes", retryable=False)
        return bytes(data)

    async def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        self.reaches.add(reach)
        self.redirects.add(redirects)
        assert 0 <= offset <= size <= MAX_SIZE
        self.offsets.append((url, offset))
        left = size - offset
        async for piece in self._answer(url, offset):
            if len(piece) > left:
                raise FetchFailed(f"it sent more than {size} bytes", retryable=False)
            left -= len(piece)
            yield piece
        if left:
            raise FetchFailed(f"it ended {left} bytes early", retryable=True)

    async def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        self.reaches.add(reach)
        self.redirects.add(redirects)
        assert offset >= 0
        assert 0 < length <= MAX_SIZE
        self.spans.append((url, offset, length))
        left = length
        async for piece in self._answer(url, offset, ranged=True):
            fresh = piece[:left]
            left -= len(fresh)
            yield fresh
            if not left:
                return

    async def _answer(
        self, url: str, offset: int, *, ranged: bool = False
    ) -> AsyncGenerator[bytes, None]:
        base, path = next(
            (base, url[len(base) + 1 :]) for base in self.servers if url.startswith(base + "/")
        )
        server = self.servers[base]
        server.requests[path] += 1
        server.request_times.append(now := asyncio.get_running_loop().time())
        if now < server.up_at:
            raise FetchFailed("the connection failed: connection refused", retryable=True)
        if now < server.busy_until:
            reason, pause = "it answered HTTP 503", server.retry_after
            raise FetchFailed(reason, retryable=True, retry_after=pause)
        if server.portal:
            raise Intercepted(server.portal)
        if server.hangs:
            await asyncio.sleep(15)
            raise FetchFailed("it stopped answering", retryable=True)
        if server.busy_every and server.requests.total() % server.busy_every == 0:
            raise FetchFailed("it answered HTTP 500", retryable=True)
        if path not in server.files:
            raise FetchFailed("it does not have it (HTTP 404)", retryable=False)
        if ranged and offset and server.whole_only:
            raise RangesUnsupported("it sends files only as a whole")
        data = server.tamper(path, server.files[path])
        seconds = 0.0 if path in server.quick else server.piece_seconds
        async for piece in self._pieces(server, data, offset, seconds):
            yield piece
        while path == server.endless:
            await asyncio.sleep(server.piece_seconds)
            yield bytes(PIECE)

    @staticmethod
    async def _pieces(
        server: FakeServer, data: bytes, offset: int, seconds: float
    ) -> AsyncGenerator[bytes, None]:
        for start in range(offset, len(data), PIECE):
            if server.vanish_after is not None and start - offset >= server.vanish_after:
                server.vanish_after = None
                raise FetchFailed("the connection failed", retryable=True)
            if server.silent_after is not None and start - offset >= server.silent_after:
                await asyncio.sleep(FOR_EVER)
            await asyncio.sleep(seconds)
            yield data[start : start + PIECE]
