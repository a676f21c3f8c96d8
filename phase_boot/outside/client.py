"""Our side: a finder and a fetcher whose work another process does.

That process may have been taken over by what it read. It gets no more out of us than a mirror
would: bounded texts, URLs that are hints, and bytes that will be hashed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from phase_boot.outside.handover import taken_over
from phase_boot.outside.wire import (
    MAX_TEXT,
    Broken,
    Kind,
    as_failure,
    ask,
    readable,
    receive,
    request,
)
from phase_boot.ports.fetcher import Buffer, FetchFailed, unmoved
from phase_boot.ports.finder import Candidate, FinderFailed, Ignored, Quest
from policies.model import Reach

PATIENCE_SECONDS: Final = 60.0
"""Without a word for so long it hangs; it gives up on a source much earlier than that."""
MAX_CANDIDATES: Final = 1024
BUFFER: Final = 256 * 1024
"""Bytes that may wait between the two of us, where the kernel allows so many."""
Frames = AsyncGenerator[tuple[Kind, Buffer], None]


class Outside:
    """Implements `ports.fetcher.Fetcher` and, for mDNS, `ports.finder.Finder`.

    ``control`` is the socket over which the other process gets one socket for each request.
    """

    origin = "lan"

    def __init__(self, control: socket.socket, *, patience: float = PATIENCE_SECONDS) -> None:
        self._control = control
        self._control.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._patience = patience

    async def gone(self) -> None:
        """Return when the other process has ended."""
        # It never says anything here, so the only news is its end.
        await readable(self._control)

    async def find(self, quest: Quest) -> AsyncGenerator[Candidate | Ignored, None]:
        """Yield what it hears."""
        asked = request(do="find", arch=quest.arch, channel=quest.channel, seconds=quest.seconds)
        left = MAX_CANDIDATES
        try:
            async with aclosing(self._frames(asked, quest.seconds + self._patience)) as frames:
                async for kind, payload in frames:
                    if kind not in {Kind.FOUND, Kind.IGNORED} or not left:
                        raise FinderFailed(_text(payload) or "it did not answer as it should")
                    left -= 1
                    if kind is Kind.IGNORED:
                        yield Ignored(_text(payload))
                        continue
                    url, _, who = _text(payload).partition("\n")
                    if url:
                        yield Candidate(url=url, origin=self.origin, who=who)
        except Broken as error:
            raise FinderFailed(f"the process that looks at the network failed: {error}") from error

    async def read(
        self,
        url: str,
        *,
        limit: int,
        reach: Reach,
        redirects: int = 0,
        moved: Callable[[str], None] = unmoved,
    ) -> bytes:
        """Return a small document, whole."""
        asked = request(do="read", url=url, limit=limit, reach=reach, redirects=redirects)
        body, left = bytearray(), redirects

        def note(target: str) -> None:
            nonlocal left
            left -= 1
            if left >= 0:
                moved(target)

        async with aclosing(self._pieces(asked, note)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > limit:
                    raise FetchFailed(f"it is larger than {limit} bytes", retryable=False)
        return bytes(body)

    async def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[Buffer, None]:
        """Yield the bytes from ``offset`` to ``size``; anything else is a failure."""
        asked = request(
            do="stream", url=url, offset=offset, size=size, reach=reach, redirects=redirects
        )
        left = size - offset
        async with aclosing(self._body(asked, left)) as pieces:
            async for piece in pieces:
                left -= len(piece)
                yield piece
        if left:
            raise FetchFailed(f"it ended {left} bytes early", retryable=True)

    async def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[Buffer, None]:
        """Yield at most ``length`` bytes from ``offset`` on; anything else is a failure."""
        asked = request(
            do="span", url=url, offset=offset, length=length, reach=reach, redirects=redirects
        )
        async with aclosing(self._body(asked, length)) as pieces:
            async for piece in pieces:
                yield piece

    async def _body(self, asked: bytes, length: int) -> AsyncGenerator[Buffer, None]:
        """Yield at most so many bytes of an answer; where there are none nobody is asked."""
        left = length
        if not left:
            return
        async with aclosing(self._pieces(asked)) as pieces:
            async for piece in pieces:
                if len(piece) > left:
                    raise FetchFailed(f"it sent more than {length} bytes", retryable=False)
                left -= len(piece)
                yield piece

    async def _pieces(
        self, asked: bytes, moved: Callable[[str], None] = unmoved
    ) -> AsyncGenerator[Buffer, None]:
        try:
            async with aclosing(self._frames(asked, self._patience)) as frames:
                async for kind, payload in frames:
                    if kind is Kind.MOVED:
                        moved(_text(payload))
                        continue
                    if kind is not Kind.DATA:
                        raise as_failure(kind, payload)
                    yield payload
        except Broken as error:
            reason = f"the process that talks to the network failed: {error}"
            raise FetchFailed(reason, retryable=True) from error

    async def _frames(self, asked: bytes, patience: float) -> Frames:
        """Yield the frames of one answer up to its end; hang up when nobody wants more.

        Raises:
            Broken: the other side ended, hangs, or says what is no frame.
        """
        with self._connection() as channel:
            await ask(channel, asked)
            while True:
                try:
                    async with asyncio.timeout(patience):
                        kind, payload = await receive(channel)
                except TimeoutError:
                    raise Broken(f"no word for {patience:g} seconds") from None
                if kind is Kind.END:
                    return
                if kind is Kind.REST:
                    async with aclosing(taken_over(channel, payload)) as pieces:
                        async for piece in pieces:
                            yield Kind.DATA, piece
                    return
                yield kind, payload

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                _widen(ours, theirs)
                try:
                    socket.send_fds(self._control, [b"\n"], [theirs.fileno()])
                except OSError as error:
                    raise Broken(f"it does not listen: {error.strerror}") from error
            yield ours


def _widen(*channels: socket.socket) -> None:
    for channel in channels:
        channel.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)


def _text(payload: Buffer) -> str:
    """Return a short text; whoever shows it escapes it."""
    return payload[:MAX_TEXT].decode("utf-8", "replace")
