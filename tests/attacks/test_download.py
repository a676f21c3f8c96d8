"""Attacks by a source: forged chunk lists, wrong bytes, trickling and wrong HTTP responses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.content import car, dag_pb, varint
from phase_boot.content.cid import Cid, Codec
from phase_boot.content.dag_builder import build_dag
from phase_boot.content.dag_pb import MAX_BLOCK, Link, Node
from phase_boot.download import ArtifactUnavailable, Sources, fetch_artifact
from phase_boot.download.health import HEDGE_SECONDS
from phase_boot.download.rate import RATE_SECONDS
from phase_boot.drill import virtual_time
from phase_boot.drill.fake_servers import FakeFetcher, FakeServer
from phase_boot.journal.content_events import ChunkListUnavailable, SourceFailed
from phase_boot.store.disk import Folder
from phase_boot.store.layout import entry_path
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.dags import car_of
from tests.support.downloads import FakeDownload, artifact_of, chunked, data_of, server_of
from tests.support.http_server import ok

DATA = data_of(400_000)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(chunked(DATA))
LIST = f"dag/{TREE.root}.car"
ENTRY = entry_path(ARTIFACT.digest)
CAR = car_of(TREE)
NODES = list(TREE.nodes)


async def obtained(
    download: FakeDownload,
    root: Cid = TREE.root,
    *,
    mirrors: tuple[str, ...] | None = None,
    **changes: Any,
) -> None:
    sources = download.sources() if mirrors is None else Sources(mirrors=mirrors)
    fetched, _ = await fetch_artifact(download.context(**changes), sources, ARTIFACT, root)
    assert content(fetched) == DATA


async def timed(fetching: Awaitable[None]) -> float:
    """Return the virtual seconds that it takes."""
    began = asyncio.get_running_loop().time()
    await fetching
    return asyncio.get_running_loop().time() - began


def assert_nothing_but_the_artifact(download: FakeDownload, *, whole: bool = True) -> None:
    """The store has the artifact and nothing else, and every entry hashes to its name."""
    assert_every_entry_is_what_it_is_called(download.disk)
    names = {item.name for item in download.disk.items(Folder.ENTRIES)}
    assert names == ({ARTIFACT.digest.hex} if whole else set())
    assert not whole or not download.disk.items(Folder.PARTIALS)


def file_of(nodes: list[tuple[Cid, bytes]]) -> bytes:
    return b"".join(car.write(TREE.root, nodes))


def unchecked(*blocks: tuple[Cid, bytes]) -> bytes:
    """Return a CAR file of blocks under CIDs that need not be theirs."""
    sections = (bytes(cid) + block for cid, block in blocks)
    return CAR[: car.HEADER_BYTES] + b"".join(varint.encode(len(s)) + s for s in sections)


def circle() -> bytes:
    """A root that has itself as its child."""
    below = Link(TREE.root, len(DATA), len(DATA) + 100)
    return unchecked((TREE.root, dag_pb.encode(Node.file((below,)))))


LIES = {
    "a node that lies": unchecked((TREE.root, NODES[0][1][:-1] + b"?"), *NODES[1:]),
    "blocks in another order": file_of([NODES[0], *NODES[:0:-1]]),
    "a block more": file_of([NODES[0], NODES[-1], *NODES[1:]]),
    "a block that nobody knows": file_of([NODES[0], (Cid.of(Codec.RAW, b"x"), b"x"), *NODES[1:]]),
    "a block less": file_of([NODES[0], *NODES[2:]]),
    "a circle": circle(),
    "a million messages in one another": unchecked((TREE.root, b"\x0a\x7f" * (MAX_BLOCK // 2))),
    "a length that overflows": CAR[: car.HEADER_BYTES] + varint.encode(2**63 - 1),
    "a length without end": CAR[: car.HEADER_BYTES] + b"\xff" * 1000,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_forged_chunk_list_bans_its_source_and_another_one_serves(lie: bytes) -> None:
    bad, good = server_of(DATA), server_of(DATA)
    bad.files[LIST], good.files[LIST] = lie, CAR
    download = FakeDownload(FakeFetcher(bad=bad, good=good))
    virtual_time.run(obtained(download))
    assert_nothing_but_the_artifact(download)
    assert download.banned == {"http://bad"}
    assert [event.source for event in download.of(SourceFailed)] == ["http://bad"]
    assert not download.of(ChunkListUnavailable)
    assert bad.requests.keys() == {LIST}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_forged_chunk_lists_everywhere_store_nothing_and_the_next_run_succeeds(lie: bytes) -> None:
    bad, good = server_of(DATA), server_of(DATA)
    bad.files[LIST], good.files[LIST] = lie, CAR
    download = FakeDownload(FakeFetcher(bad=bad))
    with pytest.raises(ArtifactUnavailable, match="other bytes than were signed"):
        virtual_time.run(obtained(download))
    assert_nothing_but_the_artifact(download, whole=False)
    again = FakeDownload(FakeFetcher(good=good), download.disk)
    virtual_time.run(obtained(again))
    assert_nothing_but_the_artifact(again)


def test_a_signed_dag_without_an_end_is_dropped_for_the_whole_file() -> None:
    nodes, below = [], Link(TREE.root, len(DATA), len(DATA) + 1)
    for _ in range(2000):
        block = dag_pb.encode(Node.file((below,)))
        below = Link(Cid.of(Codec.DAG_PB, block), len(DATA), below.tsize + len(block))
        nodes.append((below.cid, block))
    server = server_of(DATA)
    server.files[f"dag/{below.cid}.car"] = b"".join(car.write(below.cid, nodes[::-1]))
    download = FakeDownload(FakeFetcher(a=server))
    virtual_time.run(obtained(download, below.cid))
    assert_nothing_but_the_artifact(download)
    (unknown,) = download.of(ChunkListUnavailable)
    assert "levels" in unknown.reason
    assert not download.banned


def test_a_trickling_chunk_list_is_read_from_the_next_source_too() -> None:
    drip, good = server_of(DATA, piece_seconds=0.7 * RATE_SECONDS), server_of(DATA)
    drip.files[LIST] = good.files[LIST] = CAR
    download = FakeDownload(FakeFetcher(drip=drip, good=good))
    assert virtual_time.run(timed(obtained(download))) < RATE_SECONDS
    assert_nothing_but_the_artifact(download)
    assert not download.banned


def test_a_trickling_chunk_list_of_a_single_source_is_given_up() -> None:
    drip = server_of(DATA, piece_seconds=0.7 * RATE_SECONDS)
    drip.files[LIST] = CAR
    download = FakeDownload(FakeFetcher(drip=drip))
    with pytest.raises(ArtifactUnavailable):
        virtual_time.run(obtained(download))
    named = [event for event in download.of(SourceFailed) if event.source == "http://drip"]
    assert f"more than {RATE_SECONDS} seconds" in named[0].reason
    assert not download.banned


def test_four_mirrors_that_never_answer_delay_no_fetch() -> None:
    good = server_of(DATA)
    good.files[LIST] = CAR
    alone = FakeDownload(FakeFetcher(good=good))
    least = virtual_time.run(timed(obtained(alone)))
    dead = {f"dead{number}": FakeServer({}, hangs=True) for number in range(4)}
    download = FakeDownload(FakeFetcher(**dead, good=good))
    mirrors = (*(f"http://{name}" for name in dead), "http://good")
    assert (
        virtual_time.run(timed(obtained(download, mirrors=mirrors)))
        < least + 4 * HEDGE_SECONDS + 1.0
    )
    assert_nothing_but_the_artifact(download)


def test_four_mirrors_that_never_answer_delay_no_whole_file() -> None:
    async def whole(download: FakeDownload) -> None:
        fetched, source = await fetch_artifact(download.context(), download.sources(), ARTIFACT)
        assert (content(fetched), source) == (DATA, "http://good")

    least = virtual_time.run(timed(whole(FakeDownload(FakeFetcher(good=server_of(DATA))))))
    dead = {f"dead{number}": FakeServer({}, hangs=True) for number in range(4)}
    download = FakeDownload(FakeFetcher(**dead, gone=FakeServer({}), good=server_of(DATA)))
    assert virtual_time.run(timed(whole(download))) < least + 5 * HEDGE_SECONDS + 1.0
    assert_nothing_but_the_artifact(download)


def test_a_chunk_that_is_wrong_everywhere_is_never_stored_and_the_next_run_keeps_the_others() -> (
    None
):
    def tamper(path: str, data: bytes) -> bytes:
        return data[:200_000] + b"lie" + data[200_003:] if path == ENTRY else data

    liar = FakeServer({ENTRY: DATA, LIST: CAR}, tamper=tamper)
    download = FakeDownload(FakeFetcher(liar=liar))
    with pytest.raises(ArtifactUnavailable, match="than what was signed"):
        virtual_time.run(obtained(download))
    assert_nothing_but_the_artifact(download, whole=False)
    good = FakeServer({ENTRY: DATA, LIST: CAR})
    again = FakeDownload(FakeFetcher(good=good), download.disk)
    virtual_time.run(obtained(again))
    assert_nothing_but_the_artifact(again)
    asked = sum(length for url, _, length in again.fetcher.spans if url.endswith(ENTRY))
    assert asked < len(DATA)


# ---- answers of HTTP, on real sockets ----------------------------------------------------------
Answer = Callable[[str, int, int], bytes]
"""Returns the response for a path and a byte range."""


def part(data: bytes, first: int, end: int, *headers: str, label: int | None = None) -> bytes:
    start = first if label is None else label
    end = min(end, len(data))
    about = f"Content-Range: bytes {start}-{start + end - first - 1}/{len(data)}"
    return ok(data[first:end], about, *headers, status="206 Partial Content")


def honest(path: str, first: int, end: int) -> bytes:
    files = {ENTRY: DATA, LIST: CAR}
    return part(files[path], first, end) if path in files else ok(b"", status="404 Not Found")


@dataclass
class Server:
    """A web server with chosen responses."""

    answer: Answer = honest
    requests: list[str] = field(default_factory=list)
    url: str = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1].removeprefix("/")
        self.requests.append(path)
        span = re.search(r"Range: bytes=(\d+)-(\d*)", head)
        first = int(span[1]) if span else 0
        end = int(span[2]) + 1 if span and span[2] else len(DATA)
        writer.write(self.answer(path, first, end))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(*servers: Server) -> AsyncIterator[None]:
    listeners = []
    for server in servers:
        listener = await asyncio.start_server(server.talk, "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        listeners.append(listener)
    try:
        yield
    finally:
        for listener in listeners:
            listener.close()


ENOUGH_SECONDS = 60
"""Bound of a download that takes less than one second; an endless one fails by it."""


class FastClock(SystemClock):
    """A clock whose pauses are short."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.01))


async def fetched(download: FakeDownload, *servers: Server) -> None:
    http = HttpFetcher(stall_seconds=2)
    try:
        async with asyncio.timeout(ENOUGH_SECONDS), serving(*servers):
            mirrors = tuple(server.url for server in servers)
            await obtained(download, mirrors=mirrors, fetcher=http, clock=FastClock())
    finally:
        await http.close()


def instead(answer: Answer) -> Answer:
    """Return the given response for the artifact, and the honest one for other paths."""
    return lambda path, first, end: (answer if path == ENTRY else honest)(path, first, end)


def redirect(_path: str, first: int, _end: int) -> bytes:
    return ok(b"", f"Location: /{ENTRY}?{first}", status="302 Found")


OTHERS: dict[str, tuple[Answer, bool]] = {
    "the whole, but other bytes": (lambda _, __, ___: ok(bytes(len(DATA))), False),
    "other bytes": (lambda _, first, end: part(bytes(len(DATA)), first, end), True),
    "bytes of another place": (lambda _, a, b: part(DATA, (a + 9) % 99, b - a, label=a), False),
    "another range": (lambda _, a, b: part(DATA, a, b, label=a + 1), False),
    "an encoding": (lambda _, a, b: part(DATA, a, b, "Content-Encoding: gzip"), False),
    "a redirect to itself": (redirect, False),
    "bytes that end early": (lambda _, a, b: part(DATA, a, b)[:-1], False),
    "nothing": (lambda _, __, ___: b"", False),
}


@pytest.mark.parametrize(("answer", "lies"), OTHERS.values(), ids=OTHERS)
async def test_a_wrong_response_is_dropped_and_the_next_source_serves(
    answer: Answer,
    lies: bool,  # noqa: FBT001 - a case
) -> None:
    bad, good, download = Server(instead(answer)), Server(), FakeDownload(FakeFetcher())
    await fetched(download, bad, good)
    assert_nothing_but_the_artifact(download)
    assert ENTRY in bad.requests
    assert not lies or download.banned == {bad.url}


@pytest.mark.parametrize("answer", [answer for answer, _ in OTHERS.values()], ids=OTHERS)
async def test_wrong_responses_everywhere_leave_nothing_in_the_store(
    answer: Answer,
) -> None:
    download = FakeDownload(FakeFetcher())
    with pytest.raises(ArtifactUnavailable):
        await fetched(download, Server(instead(answer)))
    assert_nothing_but_the_artifact(download, whole=False)
    again = FakeDownload(FakeFetcher(), download.disk)
    await fetched(again, Server())
    assert_nothing_but_the_artifact(again)


async def test_a_range_request_answered_with_the_whole_file_is_accepted() -> None:
    download, server = FakeDownload(FakeFetcher()), Server(instead(lambda _, __, ___: ok(DATA)))
    await fetched(download, server)
    assert_nothing_but_the_artifact(download)
    assert not download.banned


async def test_an_endless_redirect_is_not_followed_once() -> None:
    download = FakeDownload(FakeFetcher())
    first, second = Server(), Server()
    first.answer = instead(
        lambda *_: ok(b"", f"Location: {second.url}/{ENTRY}", status="302 Found")
    )
    second.answer = instead(
        lambda *_: ok(b"", f"Location: {first.url}/{ENTRY}", status="307 Go on")
    )
    with pytest.raises(ArtifactUnavailable, match="redirect"):
        await fetched(download, first, second)
    assert first.requests.count(ENTRY) <= 2
    assert second.requests.count(ENTRY) <= 2
    assert_nothing_but_the_artifact(download, whole=False)
