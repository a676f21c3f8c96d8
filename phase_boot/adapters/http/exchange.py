"""One request with a small body to a server that a person named, and its bounded response.

No redirect is followed, because the response must be that of the named server.
"""

from __future__ import annotations

import asyncio
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
        body: its body; None for a request without one.
        limit: bytes of the response body, at most.
        seconds: time from the connection to the last byte of the response, at most.
    """

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
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

    The body of a response other than 200 is cut at the limit.

    Raises:
        FetchFailed: there is no response in time, or its body is larger than the limit or damaged.
    """
    try:
        url = Url.parse(request.url)
    except BadUrl as error:
        raise FetchFailed(f"it is no usable URL: {error}", retryable=False) from error
    once = Redirects(url, limit=0, document=True)
    try:
        async with (
            asyncio.timeout(request.seconds),
            client.send(
                once, request.headers, request.body, check=_any_host, method=request.method
            ) as response,
        ):
            body = await _body(response, request.limit)
            return Answer(response.head.status, response.kind.lower(), body)
    except TimeoutError as error:
        reason = f"it did not answer within {request.seconds:g} seconds"
        raise FetchFailed(reason, retryable=True) from error


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


def _any_host(_host: str) -> None:
    """Allow every host: the person who runs the command named it."""
