"""Main-process side of the network worker: a finder and a fetcher over its control socket.

Network input may have compromised the worker. Its replies have therefore the trust of a mirror's:
texts are bounded, URLs are hints, and bytes are hashed by the caller.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from phase_boot.ports.fetcher import Buffer, FetchFailed, ignore_redirect
from phase_boot.ports.finder import Candidate, FinderFailed, Ignored, Quest
from phase_boot.privsep.fd_passing import read_passed_socket
from phase_boot.privsep.protocol import (
    MAX_TEXT,
    FrameKind,
    ProtocolError,
    decode_failure,
    encode_request,
    receive_frame,
    send_request,
    wait_readable,
)
from policies.model import Reach

REPLY_SECONDS: Final = 60.0
"""Time without a frame after which the worker counts as hung; its own timeouts are shorter."""
MAX_CANDIDATES: Final = 1024
SOCKET_BUFFER_BYTES: Final = 256 * 1024
"""Send buffer of each request socket, where the kernel allows that much."""
Frames = AsyncGenerator[tuple[FrameKind, Buffer], None]


class WorkerClient:
    """Implements `ports.fetcher.Fetcher` and, for mDNS, `ports.finder.Finder`.

    ``control`` is the socket over which the worker receives one socket for each request.
    """

    origin = "lan"

    def __init__(self, control: socket.socket, *, reply_seconds: float = REPLY_SECONDS) -> None:
        self._control = control
        self._control.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._reply_seconds = reply_seconds

    async def wait_exit(self) -> None:
        """Return when the worker has exited."""
        # The worker never writes to the control socket: it becomes readable only at its end.
        await wait_readable(self._control)

    async def find(self, query: Quest) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield the candidates that the worker discovers.

        Raises:
            FinderFailed: the worker ended, hangs or breaks the protocol.
        """
        request_line = encode_request(
            do="find", arch=query.arch, channel=query.channel, seconds=query.seconds
        )
        remaining = MAX_CANDIDATES
        try:
            async with aclosing(
                self._frames(request_line, query.seconds + self._reply_seconds)
            ) as frames:
                async for kind, payload in frames:
                    if kind not in {FrameKind.FOUND, FrameKind.IGNORED} or not remaining:
                        raise FinderFailed(_text(payload) or "it did not answer as it should")
                    remaining -= 1
                    if kind is FrameKind.IGNORED:
                        yield Ignored(_text(payload))
                        continue
                    url, _, service_name = _text(payload).partition("\n")
                    if url:
                        yield Candidate(url=url, origin=self.origin, service_name=service_name)
        except ProtocolError as error:
            raise FinderFailed(f"the process that talks to the network failed: {error}") from error

    async def read(
        self,
        url: str,
        *,
        limit: int,
        reach: Reach,
        redirects: int = 0,
        on_redirect: Callable[[str], None] = ignore_redirect,
    ) -> bytes:
        """Return a whole document of at most ``limit`` bytes."""
        request_line = encode_request(
            do="read", url=url, limit=limit, reach=reach, redirects=redirects
        )
        body, remaining = bytearray(), redirects

        def count_redirect(target: str) -> None:
            nonlocal remaining
            remaining -= 1
            if remaining >= 0:
                on_redirect(target)

        async with aclosing(self._data_frames(request_line, count_redirect)) as buffers:
            async for buffer in buffers:
                body += buffer
                if len(body) > limit:
                    raise FetchFailed(f"it is larger than {limit} bytes", retryable=False)
        return bytes(body)

    async def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[Buffer, None]:
        """Yield the bytes from ``offset`` to ``size``; fewer or more bytes raise FetchFailed."""
        request_line = encode_request(
            do="stream", url=url, offset=offset, size=size, reach=reach, redirects=redirects
        )
        remaining = size - offset
        async with aclosing(self._body(request_line, remaining)) as buffers:
            async for buffer in buffers:
                remaining -= len(buffer)
                yield buffer
        if remaining:
            raise FetchFailed(f"it ended {remaining} bytes early", retryable=True)

    async def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[Buffer, None]:
        """Yield at most ``length`` bytes from ``offset`` on; more bytes raise FetchFailed."""
        request_line = encode_request(
            do="span", url=url, offset=offset, length=length, reach=reach, redirects=redirects
        )
        async with aclosing(self._body(request_line, length)) as buffers:
            async for buffer in buffers:
                yield buffer

    async def _body(self, request_line: bytes, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield at most ``length`` bytes of a response; send no request for 0 bytes."""
        remaining = length
        if not remaining:
            return
        async with aclosing(self._data_frames(request_line)) as buffers:
            async for buffer in buffers:
                if len(buffer) > remaining:
                    raise FetchFailed(f"it sent more than {length} bytes", retryable=False)
                remaining -= len(buffer)
                yield buffer

    async def _data_frames(
        self, request_line: bytes, on_redirect: Callable[[str], None] = ignore_redirect
    ) -> AsyncGenerator[Buffer, None]:
        try:
            async with aclosing(self._frames(request_line, self._reply_seconds)) as frames:
                async for kind, payload in frames:
                    if kind is FrameKind.MOVED:
                        on_redirect(_text(payload))
                        continue
                    if kind is not FrameKind.DATA:
                        raise decode_failure(kind, payload)
                    yield payload
        except ProtocolError as error:
            reason = f"the process that talks to the network failed: {error}"
            raise FetchFailed(reason, retryable=True) from error

    async def _frames(self, request_line: bytes, reply_seconds: float) -> Frames:
        """Yield the frames of one response; closing the generator cancels the request.

        Raises:
            ProtocolError: the worker ended, hangs, or sent an invalid frame.
        """
        with self._connection() as channel:
            await send_request(channel, request_line)
            while True:
                try:
                    async with asyncio.timeout(reply_seconds):
                        kind, payload = await receive_frame(channel)
                except TimeoutError:
                    raise ProtocolError(f"no word for {reply_seconds:g} seconds") from None
                if kind is FrameKind.END:
                    return
                if kind is FrameKind.PASSED:
                    async with aclosing(read_passed_socket(channel, payload)) as buffers:
                        async for buffer in buffers:
                            yield FrameKind.DATA, buffer
                    return
                yield kind, payload

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                _set_buffers(ours, theirs)
                try:
                    socket.send_fds(self._control, [b"\n"], [theirs.fileno()])
                except OSError as error:
                    raise ProtocolError(f"it does not listen: {error.strerror}") from error
            yield ours


def _set_buffers(*channels: socket.socket) -> None:
    for channel in channels:
        channel.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)


def _text(payload: Buffer) -> str:
    """Return the text of a payload, bounded and unescaped."""
    return payload[:MAX_TEXT].decode("utf-8", "replace")
