"""Attacks of a compromised network worker on the main process."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from phase_boot.content.arch import Arch
from phase_boot.ports.fetcher import MAX_RETRY_AFTER_SECONDS, FetchFailed
from phase_boot.ports.finder import Candidate, DiscoveryQuery, FinderFailed
from phase_boot.privsep.client import MAX_CANDIDATES, WorkerClient
from phase_boot.privsep.protocol import MAX_FRAME, MAX_TEXT, FrameKind, wait_readable
from policies.model import Reach

QUEST = DiscoveryQuery(arch=Arch.AMD64, channel="stable", seconds=0.1, urls=())


def frame(kind: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack("!BI", kind, len(payload) if length is None else length) + payload


@asynccontextmanager
async def taken_over(answer: Callable[[], bytes]) -> AsyncIterator[WorkerClient]:
    """A worker that answers each request with the same bytes, and then nothing."""
    ours, theirs = socket.socketpair()
    kept: list[socket.socket] = []

    async def answering() -> None:
        while True:
            await wait_readable(theirs)
            data, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
            if not data:
                return
            connection = socket.socket(fileno=descriptors[0])
            connection.setblocking(False)  # noqa: FBT003 - the library's own signature
            kept.append(connection)
            try:
                await asyncio.get_running_loop().sock_sendall(connection, answer())
            except OSError:
                continue

    attacker = asyncio.create_task(answering())
    try:
        yield WorkerClient(ours, reply_seconds=0.3)
    finally:
        attacker.cancel()
        await asyncio.gather(attacker, return_exceptions=True)
        for each in (ours, theirs, *kept):
            each.close()


async def read(other: WorkerClient) -> bytes:
    return await other.read("http://x", limit=1000, reach=Reach.INTERNET)


async def streamed(other: WorkerClient) -> bytes:
    pieces = other.stream("http://x", offset=10, size=100, reach=Reach.INTERNET)
    return b"".join([piece async for piece in pieces])


async def part(other: WorkerClient) -> bytes:
    pieces = other.span("http://x", offset=10, length=90, reach=Reach.INTERNET)
    return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0",
        frame(0),
        frame(77, b"x"),
        frame(FrameKind.DATA, length=2**32 - 1),
        frame(FrameKind.DATA, length=MAX_FRAME + 1),
        frame(FrameKind.DATA, b"half", length=1000),
        frame(FrameKind.FOUND, b"http://y"),
        frame(FrameKind.FAILED, b"\xff\xfe" * 9000),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_an_invalid_reply_of_the_worker_fails_only_its_request(answer: bytes) -> None:
    async with taken_over(lambda: answer) as other:
        for request in (read, streamed, part):
            with pytest.raises(FetchFailed) as caught:
                await request(other)
            assert len(str(caught.value)) < 2 * MAX_TEXT


@pytest.mark.parametrize("asked", [b"1e300", b"nan", b"-inf", b"soon", b"", b"9" * 4000])
async def test_a_retry_pause_from_the_worker_is_bounded(asked: bytes) -> None:
    async with taken_over(lambda: frame(FrameKind.FAILED_FOR_NOW, asked + b"\nbusy")) as other:
        with pytest.raises(FetchFailed) as caught:
            await read(other)
    pause = caught.value.retry_after
    assert pause is None or 0 <= pause <= MAX_RETRY_AFTER_SECONDS


async def test_an_endless_document_is_cut_at_its_limit() -> None:
    endless = frame(FrameKind.DATA, b"x" * 600) * 1000
    async with taken_over(lambda: endless) as other:
        with pytest.raises(FetchFailed, match="larger than 1000 bytes"):
            await read(other)


async def test_more_bytes_than_requested_from_the_worker_are_refused() -> None:
    async with taken_over(lambda: frame(FrameKind.DATA, b"x" * 91)) as other:
        with pytest.raises(FetchFailed, match="more than 90 bytes"):
            await streamed(other)
        with pytest.raises(FetchFailed, match="more than 90 bytes"):
            await part(other)


async def test_a_body_that_ends_early_is_a_failure() -> None:
    short = frame(FrameKind.DATA, b"x" * 89) + frame(FrameKind.END)
    async with taken_over(lambda: short) as other:
        with pytest.raises(FetchFailed, match="1 bytes early"):
            await streamed(other)


async def test_endless_candidates_come_to_an_end() -> None:
    many = frame(FrameKind.FOUND, b"http://liar") * (MAX_CANDIDATES + 1)
    async with taken_over(lambda: many) as other:
        finding = other.find(QUEST)
        for _ in range(MAX_CANDIDATES):
            await anext(finding)
        with pytest.raises(FinderFailed):
            await anext(finding)


async def test_a_candidate_of_the_worker_is_bounded_and_of_the_finder_lan() -> None:
    answer = frame(FrameKind.FOUND, b"cache:" + b"\x1b" * 9000) + frame(FrameKind.END)
    async with taken_over(lambda: answer) as other:
        (candidate,) = [each async for each in other.find(QUEST)]
    assert isinstance(candidate, Candidate)
    assert len(candidate.url) <= MAX_TEXT
    assert (candidate.finder, candidate.document) == ("lan", None)
