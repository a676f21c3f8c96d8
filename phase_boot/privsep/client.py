"""Main-process side of the network worker: a finder and a fetcher over its control socket.

Network input may have compromised the worker. Its replies have therefore the trust of a mirror's:
texts are bounded, URLs are hints, and bytes are hashed by the caller.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from typing import Final

from phase_boot.ports.fetcher import Buffer, ignore_redirect
from phase_boot.ports.finder import Candidate, DiscoveryQuery, FinderFailed, Ignored
from phase_boot.privsep.protocol import (
    REPLY_SECONDS,
    FrameKind,
    ProtocolError,
    encode_request,
    wait_readable,
)
from phase_boot.privsep.response import WorkerBody, WorkerResponse, text_of
from policies.model import Reach

MAX_CANDIDATES: Final = 1024


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
                    yield Candidate(url=url, origin=self.origin, service_name=service_name)

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
