"""The network worker: its requests, and the privileges that it lacks."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from phase_boot.content.arch import Arch
from phase_boot.ports.fetcher import FetchFailed, Intercepted, ignore_redirect
from phase_boot.ports.finder import Candidate, DiscoveryQuery, FinderFailed, Ignored
from phase_boot.privsep.client import WorkerClient
from phase_boot.privsep.process import WorkerProcess, spawn_worker
from phase_boot.privsep.protocol import MAX_FRAME
from phase_boot.privsep.server import WorkerServices, serve
from policies.model import Reach

NOBODY = 65534
STATUS = Path("/proc/self/status")
BODY = bytes(range(256)) * 4096
QUEST = DiscoveryQuery(arch=Arch.ARM64, channel="stable", seconds=1, urls=())


class Finder:
    """A finder whose candidates depend on the channel's name."""

    kind = "lan"

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        yield Candidate(url=f"http://one/{query.channel}/{query.arch}", finder=self.kind)
        yield Ignored("evil\N{RIGHT-TO-LEFT OVERRIDE}")
        if query.channel == "broken":
            raise FinderFailed("mDNS cannot be used on this network")
        yield Candidate(url="http://two", finder=self.kind)


class Fetcher:
    """A fetcher whose responses depend on the URL."""

    async def read(
        self,
        url: str,
        *,
        limit: int,
        reach: Reach,
        redirects: int = 0,
        on_redirect: Callable[[str], None] = ignore_redirect,
    ) -> bytes:
        if url == "moved":
            for number in range(9):
                on_redirect(f"https://other{number}.example/")
        if url == "busy":
            raise FetchFailed("it answered HTTP 503", retryable=True, retry_after=7.5)
        if url == "gone":
            raise FetchFailed("it does not have it (HTTP 404)", retryable=False)
        if url == "portal":
            raise Intercepted("it sent us to http://portal.example/")
        if url == "dies":
            os._exit(3)
        if url == "hangs":
            await asyncio.sleep(1e6)
        if url == "rights":
            return STATUS.read_bytes()  # noqa: ASYNC240 - nobody else runs in this process
        return f"{url} {limit} {reach} {redirects}".encode()

    async def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        assert (url, reach, redirects) == ("body", Reach.LAN, 2)
        yield BODY[offset : offset + 7]
        yield BODY[offset + 7 : size]

    async def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        assert (url, reach, redirects) == ("body", Reach.LAN, 2)
        yield BODY[offset : offset + length]


async def serving(control: socket.socket) -> None:
    await serve(control, WorkerServices(Finder(), Fetcher()))


@contextmanager
def process(user: int | None = None) -> Iterator[WorkerProcess]:
    with warnings.catch_warnings():
        # Unlike the daemon, a test forks while threads may run.
        warnings.simplefilter("ignore", DeprecationWarning)
        started = spawn_worker(serving, user=user)
    try:
        yield started
    finally:
        started.stop()


@asynccontextmanager
async def running_worker(user: int | None = None) -> AsyncIterator[WorkerClient]:
    with process(user) as started:
        yield WorkerClient(started.control, reply_seconds=20)


async def test_an_interception_is_reported_across_the_boundary() -> None:
    async with running_worker() as other:
        with pytest.raises(Intercepted, match="it sent us to http:"):
            await other.read("portal", limit=1, reach=Reach.INTERNET)


async def test_a_document_is_read_and_its_request_arrives_complete() -> None:
    async with running_worker() as other:
        answer = await other.read("http://ü", limit=65536, reach=Reach.INTERNET, redirects=3)
        assert answer.decode() == "http://ü 65536 internet 3"


async def test_the_hosts_that_a_document_came_over_are_named_and_no_more_than_were_allowed() -> (
    None
):
    async with running_worker() as other:
        targets: list[str] = []
        await other.read(
            "moved", limit=99, reach=Reach.INTERNET, redirects=2, on_redirect=targets.append
        )
    assert targets == ["https://other0.example/", "https://other1.example/"]


async def test_a_body_starts_at_the_requested_offset() -> None:
    async with running_worker() as other:
        pieces = other.stream("body", offset=11, size=len(BODY), reach=Reach.LAN, redirects=2)
        assert b"".join([piece async for piece in pieces]) == BODY[11:]


async def test_a_range_of_a_body_is_exactly_as_requested() -> None:
    async with running_worker() as other:
        pieces = other.span("body", offset=3, length=MAX_FRAME - 1, reach=Reach.LAN, redirects=2)
        assert b"".join([piece async for piece in pieces]) == BODY[3 : MAX_FRAME + 2]
        beyond = other.span("body", offset=len(BODY) - 5, length=6, reach=Reach.LAN, redirects=2)
        assert [piece async for piece in beyond] == [BODY[-5:]]


@pytest.mark.parametrize(("url", "again"), [("busy", True), ("gone", False)])
async def test_a_failure_keeps_its_reason_and_retryability(url: str, again: bool) -> None:  # noqa: FBT001 - a case
    async with running_worker() as other:
        with pytest.raises(FetchFailed, match="HTTP") as caught:
            await other.read(url, limit=10, reach=Reach.INTERNET)
        assert caught.value.retryable is again
        assert caught.value.retry_after == (7.5 if again else None)


async def test_candidates_are_streamed_and_a_failed_search_is_named() -> None:
    async with running_worker() as other:
        found = [each async for each in other.find(QUEST)]
        assert found.pop(1) == Ignored("evil\N{RIGHT-TO-LEFT OVERRIDE}")
        urls = [each.url for each in found if isinstance(each, Candidate)]
        assert urls == ["http://one/stable/arm64", "http://two"]
        broken = DiscoveryQuery(arch=Arch.ARM64, channel="broken", seconds=1, urls=())
        with pytest.raises(FinderFailed, match="mDNS cannot be used"):
            async for _ in other.find(broken):
                pass


async def test_requests_run_concurrently_and_a_hanging_one_blocks_no_other() -> None:
    async with running_worker() as other:
        hanging = asyncio.create_task(other.read("hangs", limit=1, reach=Reach.LAN))
        answers = await asyncio.gather(
            *(other.read(str(n), limit=99, reach=Reach.LAN) for n in range(40))
        )
        assert answers == [f"{n} 99 lan 0".encode() for n in range(40)]
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging


async def test_a_client_may_cancel_a_request_and_send_another() -> None:
    async with running_worker() as other:
        for _ in range(200):
            pieces = other.stream("body", offset=0, size=len(BODY), reach=Reach.LAN, redirects=2)
            async with aclosing(pieces):
                assert await anext(pieces) == BODY[:7]


async def test_an_exit_of_the_worker_is_detected_and_named() -> None:
    async with running_worker() as other:
        watching = asyncio.create_task(other.wait_exit())
        await asyncio.sleep(0)
        assert not watching.done()
        with pytest.raises(FetchFailed, match="the process that talks to the network"):
            await other.read("dies", limit=1, reach=Reach.LAN)
        async with asyncio.timeout(20):
            await watching
        with pytest.raises(FetchFailed, match="the process that talks to the network"):
            await other.read("any", limit=1, reach=Reach.LAN)


async def test_the_worker_exits_when_its_control_socket_is_closed() -> None:
    with process() as started:
        started.control.close()
        ended = await asyncio.to_thread(os.waitpid, started.child.pid, 0)
        assert ended == (started.child.pid, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_the_worker_has_no_privileges() -> None:
    async with running_worker(NOBODY) as other:
        text = (await other.read("rights", limit=10_000, reach=Reach.LAN)).decode()
    status = dict(re.findall(r"^(\w+):[ \t]*(.*)$", text, re.MULTILINE))
    assert set(status["Uid"].split() + status["Gid"].split()) == {str(NOBODY)}
    assert status["Groups"].strip() == ""
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == 0
    assert status["NoNewPrivs"] == "1"


async def test_the_worker_can_never_gain_privileges() -> None:
    async with running_worker() as other:
        text = (await other.read("rights", limit=10_000, reach=Reach.LAN)).decode()
    assert "NoNewPrivs:\t1" in text
