"""Main-process side of the network worker: a finder and a fetcher over its control socket.

Network input may have compromised the worker. Its replies have therefore the trust of a mirror's:
texts are bounded, URLs are hints, and bytes are hashed by the caller.

A body comes in DATA frames, from a passed connection, or first in the one way and then in the
other. All its bytes go through `WorkerBody.__anext__`, which is the only place in the main process
that bounds their number. It is an iterator and not a chain of generators, so a byte of an artifact
takes one step from the socket to the download.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from typing import Final, Self

from phase_boot.ports.fetcher import Buffer, FetchFailed, ignore_redirect
from phase_boot.ports.finder import Candidate, DiscoveryQuery, FinderFailed, Ignored
from phase_boot.privsep.fd_passing import PassedConnection, receive_connection
from phase_boot.privsep.protocol import (
    MAX_TEXT,
    REPLY_SECONDS,
    FrameKind,
    ProtocolError,
    decode_failure,
    encode_request,
    receive_frame,
    send_request,
    wait_readable,
)
from policies.model import Reach

MAX_CANDIDATES: Final = 1024


class WorkerClient:
    """Implements `ports.fetcher.Fetcher` and, for mDNS, `ports.finder.Finder`.

    ``control`` is the socket over which the worker receives one socket for each request.
    """

    kind = "lan"

    def __init__(self, control: socket.socket, *, reply_seconds: float = REPLY_SECONDS) -> None:
        self._control = control
        self._control.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._reply_seconds = reply_seconds

    async def wait_exit(self) -> None:
        """Return when the worker has exited."""
        # The worker never writes to the control socket: it becomes readable only at its end.
        await wait_readable(self._control)

    async def find(self, query: DiscoveryQuery) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield the candidates that the worker discovers.

        Raises:
            FinderFailed: the worker ended, hangs or breaks the protocol.
        """
        request_line = encode_request(
            do="find", arch=query.arch, channel=query.channel, seconds=query.seconds
        )
        response = self._response(request_line, query.seconds + self._reply_seconds)
        remaining = MAX_CANDIDATES
        with closing(response):
            while (frame := await _found(response)) is not None:
                kind, payload = frame
                if kind not in {FrameKind.FOUND, FrameKind.IGNORED} or not remaining:
                    raise FinderFailed(text_of(payload) or "it did not answer as it should")
                remaining -= 1
                if kind is FrameKind.IGNORED:
                    yield Ignored(text_of(payload))
                    continue
                url, _, service_name = text_of(payload).partition("\n")
                if url:
                    yield Candidate(url=url, finder=self.kind, service_name=service_name)

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
        remaining = redirects

        def count_redirect(target: str) -> None:
            nonlocal remaining
            remaining -= 1
            if remaining >= 0:
                on_redirect(target)

        document = WorkerBody(
            self._response(request_line),
            limit=limit,
            too_long=f"it is larger than {limit} bytes",
            on_redirect=count_redirect,
        )
        async with aclosing(document) as body:
            return b"".join([buffer async for buffer in body])

    def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> WorkerBody:
        """Return the bytes from ``offset`` to ``size``; it fails where there are fewer or more."""
        request_line = encode_request(
            do="stream", url=url, offset=offset, size=size, reach=reach, redirects=redirects
        )
        return self._body(request_line, size - offset, exact=True)

    def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> WorkerBody:
        """Return at most ``length`` bytes from ``offset`` on; it fails where there are more."""
        request_line = encode_request(
            do="span", url=url, offset=offset, length=length, reach=reach, redirects=redirects
        )
        return self._body(request_line, length)

    def _body(self, request_line: bytes, length: int, *, exact: bool = False) -> WorkerBody:
        return WorkerBody(
            self._response(request_line),
            limit=length,
            too_long=f"it sent more than {length} bytes",
            exact=exact,
        )

    def _response(self, request_line: bytes, reply_seconds: float | None = None) -> WorkerResponse:
        seconds = self._reply_seconds if reply_seconds is None else reply_seconds
        return WorkerResponse(self._control, request_line, reply_seconds=seconds)


async def _found(response: WorkerResponse) -> tuple[FrameKind, Buffer] | None:
    """Return the next frame of a discovery, or None after the last."""
    try:
        return await response.next_frame()
    except ProtocolError as error:
        raise FinderFailed(f"the process that talks to the network failed: {error}") from error


SOCKET_BUFFER_BYTES: Final = 256 * 1024
"""Send buffer of each request socket, where the kernel allows that much."""


class WorkerResponse:
    """The frames of one response. `close` cancels the request.

    ``control`` is the socket over which the worker receives the socket of the request. The request
    is sent when the first frame is read.
    """

    def __init__(
        self, control: socket.socket, request_line: bytes, *, reply_seconds: float
    ) -> None:
        self._control = control
        self._request_line = request_line
        self._reply_seconds = reply_seconds
        self._channel: socket.socket | None = None

    async def next_frame(self) -> tuple[FrameKind, Buffer] | None:
        """Return the next frame, or None after the last.

        Raises:
            ProtocolError: the worker ended, hangs, or sent an invalid frame.
        """
        if self._channel is None:
            self._channel = _send_channel(self._control)
            await send_request(self._channel, self._request_line)
        try:
            async with asyncio.timeout(self._reply_seconds):
                kind, payload = await receive_frame(self._channel)
        except TimeoutError:
            raise ProtocolError(f"no word for {self._reply_seconds:g} seconds") from None
        return None if kind is FrameKind.END else (kind, payload)

    async def passed_connection(self, payload: Buffer) -> PassedConnection:
        """Return the connection that follows a PASSED frame; raise ProtocolError if none does."""
        if self._channel is None:
            raise ProtocolError("no request was sent")
        return await receive_connection(self._channel, payload)

    def close(self) -> None:
        """Close the socket of the request."""
        if self._channel is not None:
            self._channel.close()


class WorkerBody:
    """Implements `ports.fetcher.ResponseBody`: the bytes of one response, bounded.

    It closes itself at its end and when it fails.
    """

    def __init__(
        self,
        response: WorkerResponse,
        *,
        limit: int,
        too_long: str,
        exact: bool = False,
        on_redirect: Callable[[str], None] = ignore_redirect,
    ) -> None:
        """Take a response whose body may have ``limit`` bytes.

        Args:
            response: not requested yet; it never is where ``limit`` is 0.
            limit: number of bytes.
            too_long: reason of the failure where it has more.
            exact: whether fewer bytes are a failure too.
            on_redirect: gets each redirect target on another host.
        """
        self._response = response
        self._remaining = limit
        self._too_long = too_long
        self._exact = exact
        self._on_redirect = on_redirect
        self._passed: PassedConnection | None = None
        self._ended = not limit

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Buffer:
        """Return the next bytes.

        Raises:
            FetchFailed: the source or the worker failed, or sent more than the limit.
        """
        if self._ended:
            raise StopAsyncIteration
        try:
            buffer = await self._next_buffer()
        except ProtocolError as error:
            await self.aclose()
            reason = f"the process that talks to the network failed: {error}"
            raise FetchFailed(reason, retryable=True) from error
        except BaseException:
            await self.aclose()
            raise
        if buffer is None:
            await self.aclose()
            if self._exact and self._remaining:
                raise FetchFailed(f"it ended {self._remaining} bytes early", retryable=True)
            raise StopAsyncIteration
        if len(buffer) > self._remaining:
            await self.aclose()
            raise FetchFailed(self._too_long, retryable=False)
        self._remaining -= len(buffer)
        return buffer

    async def aclose(self) -> None:
        """Close the connections; a request that runs is cancelled."""
        self._ended = True
        if self._passed is not None:
            self._passed.close()
        self._response.close()

    async def _next_buffer(self) -> Buffer | None:
        """Return bytes of the body, however many; None at its end."""
        while self._passed is None:
            frame = await self._response.next_frame()
            if frame is None:
                return None
            kind, payload = frame
            match kind:
                case FrameKind.DATA:
                    return payload
                case FrameKind.MOVED:
                    self._on_redirect(text_of(payload))
                case FrameKind.PASSED:
                    self._passed = await self._response.passed_connection(payload)
                case _:
                    raise decode_failure(kind, payload)
        return await self._passed.read() or None


def text_of(payload: Buffer) -> str:
    """Return the text of a payload, bounded and unescaped."""
    return payload[:MAX_TEXT].decode("utf-8", "replace")


def _send_channel(control: socket.socket) -> socket.socket:
    """Send one end of a new socket pair to the worker, and return the other."""
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            for channel in (ours, theirs):
                channel.setblocking(False)  # noqa: FBT003 - the standard library's own signature
                channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
            socket.send_fds(control, [b"\n"], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise ProtocolError(f"it does not listen: {error.strerror}") from error
    return ours
