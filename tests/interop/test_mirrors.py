"""Real web servers and given responses as mirrors.

Each case is fetched from that mirror alone, by the real fetcher, on the loopback.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from phase_boot.adapters.http.fetcher import HttpFetcher
from phase_boot.adapters.system.system_clock import SystemClock
from phase_boot.content.dag_builder import build_dag
from phase_boot.download import ArtifactUnavailable, Sources, fetch_artifact
from phase_boot.drill.fake_servers import FakeFetcher
from phase_boot.journal.content_events import ChunkListUnavailable, SourceFailed
from phase_boot.ports.fetcher import FetchFailed, Intercepted
from phase_boot.store.layout import dag_path, entry_path
from phase_boot.url import base_url, below
from policies.model import Reach
from tests.support.artifacts import assert_every_entry_is_what_it_is_called, content
from tests.support.downloads import FakeDownload, artifact_of, chunked, data_of
from tests.support.http_server import ok, server
from tests.support.required_programs import needed
from tests.support.web_servers import SERVERS, serving

pytestmark = pytest.mark.interop

DATA = data_of(1_500_000)
ARTIFACT = artifact_of(DATA)
TREE = build_dag(chunked(DATA))
CAR = b"".join(TREE.car())
ENTRY, LIST = entry_path(ARTIFACT.digest), dag_path(TREE.root)
MANIFEST = "stable/amd64/manifest.json"
DOCUMENT = b'{"version": "1"}'
FILES = {ENTRY: DATA, LIST: CAR, MANIFEST: DOCUMENT}


class Mirrored:
    """A download from some mirrors, and its events."""

    def __init__(self) -> None:
        # The fake fetcher is not used: the real one replaces it.
        self.download = FakeDownload(FakeFetcher())
        self.moved: list[str] = []

    async def document(self, base: str, *, redirects: int = 5) -> bytes:
        http = HttpFetcher(stall_seconds=10)
        try:
            return await http.read(
                below(base, MANIFEST),
                limit=65536,
                reach=Reach.INTERNET,
                redirects=redirects,
                on_redirect=self.moved.append,
            )
        finally:
            await http.close()

    async def artifact(self, *bases: str) -> str:
        """Fetch the artifact and return its source."""
        http = HttpFetcher(stall_seconds=10)
        context = self.download.context(clock=SystemClock(), fetcher=http)
        sources = Sources(mirrors=bases)
        try:
            fetched, source = await fetch_artifact(context, sources, ARTIFACT, TREE.root)
            assert content(fetched) == DATA
            return source
        finally:
            await http.close()
            assert_every_entry_is_what_it_is_called(self.download.disk)

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.download.of(SourceFailed)]


async def fetched_from(base: str) -> Mirrored:
    """Fetch a document and the artifact from one mirror alone."""
    mirrored = Mirrored()
    assert await mirrored.document(base) == DOCUMENT
    assert await mirrored.artifact(base) == base
    assert not mirrored.download.banned
    return mirrored


# ---- real servers ------------------------------------------------------------------------------


CASES = [
    pytest.param(name, manner, id=f"{name}-{manner.partition('?')[0].strip('/') or 'plain'}")
    for name, real in SERVERS.items()
    for manner in real.manners
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Start each server once, when it is first asked for."""
    with ExitStack() as running:
        yield cache(
            lambda name: running.enter_context(serving(name, tmp_path_factory.mktemp(name), FILES))
        )


@pytest.mark.parametrize(("name", "manner"), CASES)
async def test_a_real_server_is_a_mirror(
    servers: Callable[[str], str], name: str, manner: str
) -> None:
    base = f"{servers(name)}/{manner}"
    if "?" not in manner:
        base = base_url(base)
    mirrored = await fetched_from(base)
    known = not mirrored.download.of(ChunkListUnavailable)
    ranged = name != "http.server" and manner not in {"whole", "packed"}
    assert known or not ranged


# ---- what no real server was seen to do --------------------------------------------------------


Manner = Callable[[str, bytes], bytes]
"""From the head of a request, and the file that it names, to an answer."""


def span_of(head: str, size: int) -> tuple[int, int] | None:
    found = re.search(r"Range: bytes=(\d+)-(\d+)", head)
    return (int(found[1]), min(int(found[2]), size - 1) + 1) if found else None


def ranged(
    label: str | None, *, before: int = 0, most: int = 1 << 30, whole: bool = True
) -> Manner:
    """Answer with ``before`` more bytes, ``most`` in all, and ``label`` as Content-Range."""

    def answer(head: str, data: bytes) -> bytes:
        span = span_of(head, len(data))
        if span is None:
            return ok(data) if whole else ok(b"", status="404 x")
        if span[0] >= len(data):
            return ok(b"", status="416 x")
        first = max(0, span[0] - before)
        end = min(span[1], first + most)
        content_range = label and label.format(first=first, last=end - 1, size=len(data))
        named = [] if content_range is None else [f"Content-Range: {content_range}"]
        return ok(data[first:end], *named, status="206 Partial Content")

    return answer


def always(*headers: str, pack: Callable[[bytes], bytes] = bytes) -> Manner:
    """Answer with the whole file, for any request."""
    return lambda _head, data: ok(pack(data), *headers)


def chunked_whole(_head: str, data: bytes) -> bytes:
    sized = f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + sized


def without_length(_head: str, data: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + data


def no_such_range(head: str, data: bytes) -> bytes:
    return ok(data) if span_of(head, 1) is None else ok(b"", status="416 Range Not Satisfiable")


def first_kilobyte_only(head: str, data: bytes) -> bytes:
    if span_of(head, 1) is None:
        return ok(data)
    return ok(data[:1024], "Content-Range: bytes 0-1023/*", status="206 Partial Content")


ANSWERS: dict[str, Manner] = {
    "size-not-stated": ranged("bytes {first}-{last}/*"),
    "shorter": ranged("bytes {first}-{last}/{size}", most=100_000),
    "shorter-and-size-not-stated": ranged("bytes {first}-{last}/*", most=100_000, whole=False),
    "shorter-and-not-stated": ranged(None, most=100_000, whole=False),
    "range-not-stated": ranged(None, whole=False),
    "range-that-begins-earlier": ranged("bytes {first}-{last}/{size}", before=500, whole=False),
    "another-range": first_kilobyte_only,
    "nonsense-for-a-range": ranged("bytes x-y/z", whole=False),
    "whole": always(),
    "empty-coding": always("Content-Encoding: "),
    "aws-chunked": always("Content-Encoding: aws-chunked"),
    "gzip": always("Content-Encoding: gzip", pack=gzip.compress),
    "gzip-as-a-label": always("Content-Encoding: gzip"),
    "chunked": chunked_whole,
    "no-length": without_length,
    "416": no_such_range,
    "called-a-page": always("Content-Type: text/html"),
}


def scripted(manner: Manner, asked: Counter[str] | None = None) -> Callable[[str], bytes]:
    """Serve `FILES` by one manner; documents as they are."""

    def answer(head: str) -> bytes:
        place = head.split(" ", 2)[1].removeprefix("/x").partition("?")[0].lstrip("/")
        if asked is not None:
            asked[place] += 1
        if place == MANIFEST:
            return ok(DOCUMENT)
        return manner(head, FILES[place]) if place in FILES else ok(b"", status="404 x")

    return answer


@pytest.mark.parametrize("manner", ANSWERS.values(), ids=ANSWERS)
async def test_correct_bytes_are_used_despite_false_headers(manner: Manner) -> None:
    async with server(scripted(manner)) as base:
        await fetched_from(base)


async def test_a_server_whose_content_encoding_cannot_be_decoded_is_named() -> None:
    mirrored = Mirrored()
    async with server(scripted(always("Content-Encoding: br"))) as base:
        with pytest.raises(ArtifactUnavailable, match="encodes what was asked for unencoded"):
            await mirrored.artifact(base)
    assert not mirrored.download.banned


@pytest.mark.parametrize("other", ["127.0.0.1", "localhost"])
async def test_artifacts_may_come_from_another_server(other: str) -> None:
    async with server(scripted(ranged("bytes {first}-{last}/{size}"))) as far:
        place = far.replace("127.0.0.1", other)

        def to_it(head: str, _data: bytes) -> bytes:
            return ok(b"", f"Location: {place}{head.split(' ', 2)[1][2:]}", status="302 Found")

        async with server(scripted(to_it)) as base:
            await fetched_from(base)


async def test_a_redirect_of_a_plain_http_document_to_another_host_is_named_and_not_followed() -> (
    None
):
    async with server(lambda _: ok(b"", "Location: http://localhost:9/m", status="302 x")) as base:
        mirrored = Mirrored()
        with pytest.raises(Intercepted, match="it sent us to http://localhost:9/m"):
            await mirrored.document(base)
    assert mirrored.moved == []


async def test_a_redirect_loop_is_named_and_does_not_ban_the_mirror() -> None:
    asked: Counter[str] = Counter()

    def to_itself(head: str, _data: bytes) -> bytes:
        return ok(b"", f"Location: {head.split(' ', 2)[1]}", status="302 Found")

    async with server(scripted(to_itself, asked)) as base:
        mirrored = Mirrored()
        with pytest.raises(ArtifactUnavailable, match="in a loop, to http"):
            await mirrored.artifact(base)
    assert not mirrored.download.banned
    assert asked[ENTRY] == 1


async def test_a_busy_server_is_retried_after_its_stated_pause() -> None:
    busy = [2]

    def answer(head: str, data: bytes) -> bytes:
        if busy[0]:
            busy[0] -= 1
            return ok(b"", "Retry-After: 1", status="503 Service Unavailable")
        return ranged("bytes {first}-{last}/{size}")(head, data)

    async with server(scripted(answer)) as base:
        mirrored = Mirrored()
        assert await mirrored.artifact(base) == base
    assert "it answered HTTP 503" in " ".join(mirrored.reasons)


async def test_during_the_pause_of_one_server_the_others_are_requested() -> None:
    async with (
        server(lambda _: ok(b"", "Retry-After: 100000", status="429 Slow")) as busy,
        server(scripted(ranged("bytes {first}-{last}/{size}"))) as good,
    ):
        mirrored = Mirrored()
        async with asyncio.timeout(20):
            assert await mirrored.artifact(busy, good) == good


async def test_a_query_that_opens_the_manifest_alone_does_not_hide_public_files() -> None:
    def answer(head: str) -> bytes:
        path = head.split(" ", 2)[1]
        place, _, query = path.removeprefix("/x").partition("?")
        if query != ("X-Sig=a%2Fb" if place.endswith(MANIFEST) else ""):
            return ok(b"", status="403 Forbidden")
        return scripted(ranged("bytes {first}-{last}/*"))(head)

    async with server(answer) as base:
        mirrored = Mirrored()
        assert await mirrored.document(f"{base}?X-Sig=a%2Fb") == DOCUMENT
        assert await mirrored.artifact(f"{base}?X-Sig=a%2Fb", base) == base
        with pytest.raises(FetchFailed, match="HTTP 403"):
            await mirrored.document(base)


def test_every_server_of_the_table_is_installed_where_all_must_run() -> None:
    for real in SERVERS.values():
        assert not real.program or shutil.which(needed(real.program, real.package))
