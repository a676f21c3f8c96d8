"""Bodies read from a passed socket, from an honest and from a compromised worker."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from phase_boot.adapters.http.fetcher import LEAST_DETACHED, HttpFetcher
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.privsep import fd_passing
from phase_boot.privsep.client import WorkerClient
from phase_boot.privsep.fd_passing import MAX_READ, encode_remaining, pass_socket
from phase_boot.privsep.protocol import FrameKind, receive_request, send_frame, wait_readable
from phase_boot.privsep.server import WorkerServices, serve
from policies.model import Reach
from tests.support.descriptors import open_descriptors

BODY = os.urandom(3 * MAX_READ + 17)
OFFSET = 5
Script = Callable[[socket.socket], Awaitable[None]]


@asynccontextmanager
async def mirror(
    *, sends: int = len(BODY), chunked: bool = False, hangs: bool = False
) -> AsyncIterator[str]:
    """Serve `BODY` from `OFFSET` up to ``sends``, for any request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        span = f"bytes {OFFSET}-{len(BODY) - 1}/{len(BODY)}"
        length = (
            "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(BODY) - OFFSET}"
        )
        head = f"HTTP/1.1 206 Partial Content\r\nContent-Range: {span}\r\n{length}\r\n\r\n"
        body = BODY[OFFSET:sends]
        if chunked:
            body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        try:
            writer.write(head.encode() + body)
            await writer.drain()
            if hangs:
                await asyncio.sleep(1e6)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    asked: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.add(asyncio.create_task(answer(reader, writer)))

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x"
    finally:
        listener.close()
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


@asynccontextmanager
async def running_worker(
    *, near: bool = True
) -> AsyncIterator[tuple[WorkerClient, list[FrameKind]]]:
    """The worker's server in this process, and the frames that it sent."""
    ours, theirs = socket.socketpair()
    http = HttpFetcher(near=lambda _: near)
    serving = asyncio.create_task(serve(theirs, WorkerServices(None, http, http)))
    frames: list[FrameKind] = []

    async def noted(channel: socket.socket, kind: FrameKind, payload: bytes = b"") -> None:
        frames.append(kind)
        await send_frame(channel, kind, payload)

    with pytest.MonkeyPatch.context() as patch, ours, theirs:
        patch.setattr("phase_boot.privsep.server.send_frame", noted)
        yield WorkerClient(ours, reply_seconds=20), frames
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await http.close()


@asynccontextmanager
async def fake_worker(script: Script) -> AsyncIterator[WorkerClient]:
    """A compromised worker, which answers one request by ``script``."""
    ours, theirs = socket.socketpair()

    async def run_script() -> None:
        await wait_readable(theirs)
        _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
        with socket.socket(fileno=descriptors[0]) as channel:
            channel.setblocking(False)  # noqa: FBT003 - the standard library's own signature
            await receive_request(channel)
            await script(channel)

    running = asyncio.create_task(run_script())
    with ours, theirs:
        yield WorkerClient(ours, reply_seconds=20)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def fetched(
    other: WorkerClient, url: str = "http://any", *, length: int = len(BODY)
) -> bytes:
    pieces = other.span(url, offset=OFFSET, length=length - OFFSET, reach=Reach.INTERNET)
    return b"".join([piece async for piece in pieces])


async def test_a_long_response_is_read_from_the_passed_socket() -> None:
    async with mirror() as url, running_worker() as (other, frames):
        assert await fetched(other, url) == BODY[OFFSET:]
        assert FrameKind.PASSED in frames


@pytest.mark.parametrize("near", [True, False])
async def test_only_a_plain_lan_response_with_a_length_is_passed_as_a_socket(near: bool) -> None:  # noqa: FBT001 - a case
    async with mirror(chunked=near) as url, running_worker(near=near) as (other, frames):
        assert await fetched(other, url) == BODY[OFFSET:]
        assert set(frames) == {FrameKind.DATA, FrameKind.END}


async def test_a_short_response_is_followed_by_a_request_for_the_rest() -> None:
    step = 2 * MAX_READ
    asked: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first = int(head.partition("bytes=")[2].partition("-")[0])
        asked.append(first)
        part = BODY[first : first + step]
        span = f"bytes {first}-{first + len(part) - 1}/*"
        head = f"HTTP/1.1 206 x\r\nContent-Range: {span}\r\nContent-Length: {len(part)}\r\n\r\n"
        writer.write(head.encode() + part)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x"
    async with listener, running_worker() as (other, frames):
        assert await fetched(other, url) == BODY[OFFSET:]
    assert asked == [OFFSET, OFFSET + step]
    assert frames[0] is FrameKind.DATA
    assert frames.count(FrameKind.PASSED) <= 1


async def test_a_short_response_is_not_passed_as_a_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("phase_boot.adapters.http.fetcher.LEAST_DETACHED", len(BODY))
    assert len(BODY) > LEAST_DETACHED
    async with mirror() as url, running_worker() as (other, frames):
        assert await fetched(other, url) == BODY[OFFSET:]
        assert FrameKind.PASSED not in frames


async def test_a_truncated_response_is_a_retryable_failure() -> None:
    async with mirror(sends=2 * MAX_READ) as url, running_worker() as (other, frames):
        with pytest.raises(FetchFailed, match=r"ended \d+ bytes early") as caught:
            await fetched(other, url)
        assert caught.value.retryable
        assert FrameKind.PASSED in frames


async def test_a_stalled_response_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fd_passing, "STALL_SECONDS", 0.2)
    async with mirror(sends=2 * MAX_READ, hangs=True) as url, running_worker() as (other, _):
        with pytest.raises(FetchFailed, match="stopped answering") as caught:
            await fetched(other, url)
        assert caught.value.retryable


async def test_no_descriptor_leaks_from_complete_or_cancelled_responses() -> None:
    async with mirror() as url, running_worker() as (other, frames):
        await fetched(other, url)
        before = open_descriptors()
        for _ in range(5):
            await fetched(other, url)
            pieces = other.span(url, offset=OFFSET, length=len(BODY) - OFFSET, reach=Reach.LAN)
            assert await anext(pieces)
            await pieces.aclose()
        assert frames.count(FrameKind.PASSED) >= 6
        for _ in range(100):
            if open_descriptors() <= before:
                break
            await asyncio.sleep(0.02)
        assert open_descriptors() <= before


async def test_more_bytes_than_requested_are_refused_before_they_are_yielded() -> None:
    async def more(channel: socket.socket) -> None:
        here, there = socket.socketpair()
        with here, there:
            await send_frame(channel, FrameKind.PASSED, encode_remaining(1 << 60))
            await pass_socket(channel, there)
            here.setblocking(False)  # noqa: FBT003 - the standard library's own signature
            await asyncio.get_running_loop().sock_sendall(here, bytes(64))

    async with fake_worker(more) as other:
        with pytest.raises(FetchFailed, match="more than 7 bytes"):
            await fetched(other, length=OFFSET + 7)


@pytest.mark.parametrize("payload", [b"", b"\0" * 7, b"\0" * 9])
async def test_an_invalid_count_of_remaining_bytes_fails(payload: bytes) -> None:
    async def odd(channel: socket.socket) -> None:
        await send_frame(channel, FrameKind.PASSED, payload)

    async with fake_worker(odd) as other:
        with pytest.raises(FetchFailed, match="how many bytes are left"):
            await fetched(other)


async def test_without_a_connection_there_is_no_answer() -> None:
    async def none(channel: socket.socket) -> None:
        await send_frame(channel, FrameKind.PASSED, encode_remaining(9))
        await asyncio.get_running_loop().sock_sendall(channel, b"\n")

    async with fake_worker(none) as other:
        with pytest.raises(FetchFailed, match="no connection"):
            await fetched(other)


async def test_a_passed_descriptor_of_another_type_is_refused_and_closed() -> None:
    async def file(channel: socket.socket) -> None:
        with tempfile.TemporaryFile() as one:
            await send_frame(channel, FrameKind.PASSED, encode_remaining(9))
            socket.send_fds(channel, [b"\n"], [one.fileno()])

    before = open_descriptors()
    async with fake_worker(file) as other:
        with pytest.raises(FetchFailed, match="no connection"):
            await fetched(other)
    assert open_descriptors() <= before


async def test_a_blocking_passed_socket_does_not_block_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fd_passing, "STALL_SECONDS", 0.2)
    here, there = socket.socketpair()

    async def waiting(channel: socket.socket) -> None:
        there.setblocking(True)  # noqa: FBT003 - the standard library's own signature
        await send_frame(channel, FrameKind.PASSED, encode_remaining(9))
        await pass_socket(channel, there)

    with here, there:
        async with fake_worker(waiting) as other, asyncio.timeout(20):
            with pytest.raises(FetchFailed, match="stopped answering"):
                await fetched(other)


async def test_an_endless_body_does_not_starve_other_tasks() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    here, there = socket.socketpair()

    async def endless(channel: socket.socket) -> None:
        here.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        await send_frame(channel, FrameKind.PASSED, encode_remaining(len(BODY) - OFFSET))
        await pass_socket(channel, there)
        await asyncio.get_running_loop().sock_sendall(here, BODY[OFFSET:])

    with here, there:
        async with fake_worker(endless) as other:
            counting = asyncio.create_task(count())
            assert await fetched(other) == BODY[OFFSET:]
            counting.cancel()
    assert turns > len(BODY) / MAX_READ


def test_a_count_is_eight_bytes_big_endian() -> None:
    assert encode_remaining(258) == struct.pack(">Q", 258)


async def test_a_worker_that_stops_leaves_no_request_behind() -> None:
    begun = asyncio.Event()

    class Silent(HttpFetcher):
        async def read(self, *_args: object, **_named: object) -> bytes:
            begun.set()
            await asyncio.Event().wait()
            return b""

    ours, theirs = socket.socketpair()
    before = asyncio.all_tasks()
    with ours, theirs:
        serving = asyncio.create_task(serve(theirs, WorkerServices(None, Silent())))
        client = WorkerClient(ours, reply_seconds=20)
        reading = asyncio.create_task(client.read("http://x", limit=1, reach=Reach.LAN))
        await begun.wait()
        serving.cancel()
        await asyncio.gather(serving, reading, return_exceptions=True)
        assert asyncio.all_tasks() - before == set()
