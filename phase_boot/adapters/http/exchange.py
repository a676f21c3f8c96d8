"""One request to a server that a person named, and its bounded response.

No redirect is followed, because the response must be that of the named server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from phase_boot.adapters.http.client import Client, Response
from phase_boot.adapters.http.redirects import Redirects
from phase_boot.adapters.http.response import OK, coding_of, whole
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import BadUrl, Url


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request.

    Attributes:
        method: `GET`, `POST` or `PUT`.
        url: where it goes.
        headers: its header fields.
        body: its body; None for a request without one. Pieces are sent as they are iterated, with
            `Transfer-Encoding: chunked`, so that the whole body is never in memory.
        limit: bytes of the response body, at most.
        seconds: time from the connection to the last byte of the response, at most. It starts again
            with each piece of the body that the connection takes.
    """

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] | None = None
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: its status, its media type in lower case, and its body."""

    status: int
    kind: str
    body: bytes


async def exchange(client: Client, request: Request) -> Answer:
    """Send ``request`` and return the response, whatever its status is.

    The body of a response other than 200 is cut at the limit. A response that comes before the
    whole body was sent ends the request. An exception of an iterated body is raised as it is.

    Raises:
        FetchFailed: there is no response in time, or its body is larger than the limit or damaged.
    """
    try:
        url = Url.parse(request.url)
    except BadUrl as error:
        raise FetchFailed(f"it is no usable URL: {error}", retryable=False) from error
    body = request.body
    pieces = _Pieces(() if isinstance(body, bytes | None) else body, request.seconds)
    try:
        async with asyncio.timeout(request.seconds) as limit:
            sent = body if isinstance(body, bytes | None) else pieces.paced(limit)
            return await _exchange(client, url, request, sent)
    except TimeoutError as error:
        verb = "take the next bytes" if pieces.sending else "answer"
        reason = f"it did not {verb} within {request.seconds:g} seconds"
        raise FetchFailed(reason, retryable=True) from error
    except FetchFailed:
        if pieces.failure is not None:
            raise pieces.failure from None
        raise


async def _exchange(
    client: Client, url: Url, request: Request, body: bytes | AsyncIterator[bytes] | None
) -> Answer:
    once = Redirects(url, limit=0, document=True)
    async with client.send(
        once, request.headers, body, check=_allow_host, method=request.method
    ) as response:
        content = await _body(response, request.limit)
        if not isinstance(body, bytes | None):
            # The server may have answered without reading it all.
            response.close()
        return Answer(response.head.status, response.kind.lower(), content)


class _Pieces:
    """A body that is sent piece by piece."""

    def __init__(self, body: Iterable[bytes], seconds: float) -> None:
        self._body = body
        self._seconds = seconds
        self.sending = False
        """Whether some of them were not written yet."""
        self.failure: Exception | None = None
        """The exception that the iteration raised, which aiohttp replaces by its own."""

    async def paced(self, limit: asyncio.Timeout) -> AsyncIterator[bytes]:
        """Yield the pieces; each gives the request as much time again."""
        clock = asyncio.get_running_loop()
        self.sending = True
        try:
            for piece in self._body:
                limit.reschedule(clock.time() + self._seconds)
                yield piece
                # Writing does not wait while the connection takes bytes at once.
                await asyncio.sleep(0)
        except Exception as error:
            self.failure = error
            raise
        limit.reschedule(clock.time() + self._seconds)
        self.sending = False


async def _body(response: Response, limit: int) -> bytes:
    if response.head.status == OK:
        return await whole(response.pieces(), coding_of(response.head), limit=limit)
    body = bytearray()
    async with aclosing(response.pieces()) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) >= limit:
                break
    return bytes(body[:limit])


def _allow_host(_host: str) -> None:
    """Allow the host of the URL, which a person named; no redirect is followed to another one."""
