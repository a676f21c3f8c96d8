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
from phase_boot.drill.fake_mirrors import Site, Sites
from phase_boot.journal.content_events import ChunkListUnavailable, SourceFailed
from phase_boot.store.disk import Folder
from phase_boot.store.layout import entry_path
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.dags import car_of
from tests.support.downloads import FakeDownload, artifact_of, chunked, data_of, site_of
from tests.support.http_server import ok

DATA = data_of(400_000)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(chunked(DATA))
LIST = f"dag/{TREE.root}.car"
ENTRY = entry_path(ARTIFACT.digest)
CAR = car_of(TREE)
NODES = list(TREE.nodes)


async def obtained(
    play: FakeDownload,
    root: Cid = TREE.root,
    *,
    mirrors: tuple[str, ...] | None = None,
    **changes: Any,
) -> None:
    sources = play.sources() if mirrors is None else Sources(mirrors=mirrors)
    fetched, _ = await fetch_artifact(play.context(**changes), sources, ARTIFACT, root)
    assert content(fetched) == DATA


async def timed(fetching: Awaitable[None]) -> float:
    """Return the virtual seconds that it takes."""
    began = asyncio.get_running_loop().time()
    await fetching
    return asyncio.get_running_loop().time() - began


def assert_nothing_but_the_artifact(play: FakeDownload, *, whole: bool = True) -> None:
    """The store has the artifact and nothing else, and every entry hashes to its name."""
    assert_every_entry_is_what_it_is_called(play.disk)
    names = {item.name for item in play.disk.items(Folder.ENTRIES)}
    assert names == ({ARTIFACT.digest.hex} if whole else set())
    assert not whole or not play.disk.items(Folder.PARTIALS)


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
    bad, good = site_of(DATA), site_of(DATA)
    bad.files[LIST], good.files[LIST] = lie, CAR
    play = FakeDownload(Sites(bad=bad, good=good))
    virtual_time.run(obtained(play))
    assert_nothing_but_the_artifact(play)
    assert play.banned == {"http://bad"}
    assert [event.source for event in play.of(SourceFailed)] == ["http://bad"]
    assert not play.of(ChunkListUnavailable)
    assert bad.asked.keys() == {LIST}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_forged_chunk_lists_everywhere_store_nothing_and_the_next_run_succeeds(lie: bytes) -> None:
    bad, good = site_of(DATA), site_of(DATA)
    bad.files[LIST], good.files[LIST] = lie, CAR
    play = FakeDownload(Sites(bad=bad))
    with pytest.raises(ArtifactUnavailable, match="other bytes than were signed"):
        virtual_time.run(obtained(play))
    assert_nothing_but_the_artifact(play, whole=False)
    again = FakeDownload(Sites(good=good), play.disk)
    virtual_time.run(obtained(again))
    assert_nothing_but_the_artifact(again)


def test_a_signed_dag_without_an_end_is_dropped_for_the_whole_file() -> None:
    nodes, below = [], Link(TREE.root, len(DATA), len(DATA) + 1)
    for _ in range(2000):
        block = dag_pb.encode(Node.file((below,)))
        below = Link(Cid.of(Codec.DAG_PB, block), len(DATA), below.tsize + len(block))
        nodes.append((below.cid, block))
    site = site_of(DATA)
    site.files[f"dag/{below.cid}.car"] = b"".join(car.write(below.cid, nodes[::-1]))
    play = FakeDownload(Sites(a=site))
    virtual_time.run(obtained(play, below.cid))
    assert_nothing_but_the_artifact(play)
    (unknown,) = play.of(ChunkListUnavailable)
    assert "levels" in unknown.reason
    assert not play.banned


def test_a_trickling_chunk_list_is_read_from_the_next_source_too() -> None:
    drip, good = site_of(DATA, piece_seconds=0.7 * RATE_SECONDS), site_of(DATA)
    drip.files[LIST] = good.files[LIST] = CAR
    play = FakeDownload(Sites(drip=drip, good=good))
    assert virtual_time.run(timed(obtained(play))) < RATE_SECONDS
    assert_nothing_but_the_artifact(play)
    assert not play.banned


def test_a_trickling_chunk_list_of_a_single_source_is_given_up() -> None:
    drip = site_of(DATA, piece_seconds=0.7 * RATE_SECONDS)
    drip.files[LIST] = CAR
    play = FakeDownload(Sites(drip=drip))
    with pytest.raises(ArtifactUnavailable):
        virtual_time.run(obtained(play))
    named = [event for event in play.of(SourceFailed) if event.source == "http://drip"]
    assert f"more than {RATE_SECONDS} seconds" in named[0].reason
    assert not play.banned


def test_four_mirrors_that_never_answer_delay_no_fetch() -> None:
    good = site_of(DATA)
    good.files[LIST] = CAR
    alone = FakeDownload(Sites(good=good))
    least = virtual_time.run(timed(obtained(alone)))
    dead = {f"dead{number}": Site({}, hangs=True) for number in range(4)}
    play = FakeDownload(Sites(**dead, good=good))
    mirrors = (*(f"http://{name}" for name in dead), "http://good")
    assert (
        virtual_time.run(timed(obtained(play, mirrors=mirrors))) < least + 4 * HEDGE_SECONDS + 1.0
    )
    assert_nothing_but_the_artifact(play)


def test_four_mirrors_that_never_answer_delay_no_whole_file() -> None:
    async def whole(play: FakeDownload) -> None:
        fetched, source = await fetch_artifact(play.context(), play.sources(), ARTIFACT)
        assert (content(fetched), source) == (DATA, "http://good")

    least = virtual_time.run(timed(whole(FakeDownload(Sites(good=site_of(DATA))))))
    dead = {f"dead{number}": Site({}, hangs=True) for number in range(4)}
    play = FakeDownload(Sites(**dead, gone=Site({}), good=site_of(DATA)))
    assert virtual_time.run(timed(whole(play))) < least + 5 * HEDGE_SECONDS + 1.0
    assert_nothing_but_the_artifact(play)


def test_a_chunk_that_is_wrong_everywhere_is_never_stored_and_the_next_run_keeps_the_others() -> (
    None
):
    def twist(path: str, data: bytes) -> bytes:
        return data[:200_000] + b"lie" + data[200_003:] if path == ENTRY else data

    liar = Site({ENTRY: DATA, LIST: CAR}, twist=twist)
    play = FakeDownload(Sites(liar=liar))
    with pytest.raises(ArtifactUnavailable, match="than what was signed"):
        virtual_time.run(obtained(play))
    assert_nothing_but_the_artifact(play, whole=False)
    good = Site({ENTRY: DATA, LIST: CAR})
    again = FakeDownload(Sites(good=good), play.disk)
    virtual_time.run(obtained(again))
    assert_nothing_but_the_artifact(again)
    asked = sum(length for url, _, length in again.sites.spans if url.endswith(ENTRY))
    assert asked < len(DATA)


# ---- answers of HTTP, on real sockets ----------------------------------------------------------
Answer = Callable[[str, int, int], bytes]
"""Returns the response for a path and a byte range."""


def part(data: bytes, first: int, end: int, *headers: str, told: int | None = None) -> bytes:
    start = first if told is None else told
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
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1].removeprefix("/")
        self.asked.append(path)
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


class Hurried(SystemClock):
    """A clock whose pauses are short."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(min(seconds, 0.01))


async def fetched(play: FakeDownload, *servers: Server) -> None:
    http = HttpFetcher(stall_seconds=2)
    try:
        async with asyncio.timeout(ENOUGH_SECONDS), serving(*servers):
            mirrors = tuple(server.url for server in servers)
            await obtained(play, mirrors=mirrors, fetcher=http, clock=Hurried())
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
    "bytes of another place": (lambda _, a, b: part(DATA, (a + 9) % 99, b - a, told=a), False),
    "another range": (lambda _, a, b: part(DATA, a, b, told=a + 1), False),
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
    bad, good, play = Server(instead(answer)), Server(), FakeDownload(Sites())
    await fetched(play, bad, good)
    assert_nothing_but_the_artifact(play)
    assert ENTRY in bad.asked
    assert not lies or play.banned == {bad.url}


@pytest.mark.parametrize("answer", [answer for answer, _ in OTHERS.values()], ids=OTHERS)
async def test_wrong_responses_everywhere_leave_nothing_in_the_store(
    answer: Answer,
) -> None:
    play = FakeDownload(Sites())
    with pytest.raises(ArtifactUnavailable):
        await fetched(play, Server(instead(answer)))
    assert_nothing_but_the_artifact(play, whole=False)
    again = FakeDownload(Sites(), play.disk)
    await fetched(again, Server())
    assert_nothing_but_the_artifact(again)


async def test_a_range_request_answered_with_the_whole_file_is_accepted() -> None:
    play, server = FakeDownload(Sites()), Server(instead(lambda _, __, ___: ok(DATA)))
    await fetched(play, server)
    assert_nothing_but_the_artifact(play)
    assert not play.banned


async def test_an_endless_redirect_is_not_followed_once() -> None:
    play = FakeDownload(Sites())
    first, second = Server(), Server()
    first.answer = instead(
        lambda *_: ok(b"", f"Location: {second.url}/{ENTRY}", status="302 Found")
    )
    second.answer = instead(
        lambda *_: ok(b"", f"Location: {first.url}/{ENTRY}", status="307 Go on")
    )
    with pytest.raises(ArtifactUnavailable, match="redirect"):
        await fetched(play, first, second)
    assert first.asked.count(ENTRY) <= 2
    assert second.asked.count(ENTRY) <= 2
    assert_nothing_but_the_artifact(play, whole=False)
