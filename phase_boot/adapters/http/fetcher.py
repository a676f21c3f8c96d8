"""Fetches documents, whole files and byte ranges over HTTP and HTTPS.

Never yields more bytes than requested. `response` interprets the header of a response.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from phase_boot.adapters.http import captive_portal, tls
from phase_boot.adapters.http.client import Client, Response
from phase_boot.adapters.http.redirects import Redirects
from phase_boot.adapters.http.resolver import Scopes
from phase_boot.adapters.http.response import (
    NO_SUCH_RANGE,
    OK,
    PARTIAL,
    REDIRECTS,
    Body,
    Coding,
    coding_of,
    decoded,
    failure_of,
    part_of,
    whole,
    whole_of,
)
from phase_boot.adapters.net.address_watch import on_link
from phase_boot.ports.fetcher import (
    STALL_SECONDS,
    FetchFailed,
    PassedBody,
    RangesUnsupported,
    ignore_redirect,
)
from phase_boot.url import BadUrl, Url
from policies.model import Reach

DOCUMENT_SECONDS: Final = 30
"""Total time limit of a small document."""
LEAST_DETACHED: Final = 1024 * 1024
"""A connection is detached only for at least this many bytes."""
CHEAP_ROUND_TRIP: Final = 0.01
"""Seconds of a round trip up to which a new connection is soon as fast as a used one."""
MAX_PARTS: Final = 256
"""Most responses that together deliver one range."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A requested file; `size` is set if the whole file is requested.

    No hash of a `document` is known before the request.
    """

    url: str
    reach: Reach
    redirects: int = 0
    size: int | None = None
    document: bool = False


class HttpFetcher:
    """Implements `ports.fetcher.Fetcher` with aiohttp, which is imported for the first request.

    ``near`` returns whether an address is directly connected.
    """

    def __init__(
        self,
        *,
        stall_seconds: float = STALL_SECONDS,
        near: Callable[[str], bool] = on_link,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        peek_seconds: float = tls.PEEK_SECONDS,
        scopes: Scopes | None = None,
    ) -> None:
        self._near = near
        self._wall = wall
        self._client = Client(
            stall_seconds=stall_seconds, wall=wall, peek_seconds=peek_seconds, scopes=scopes
        )

    async def warm(self) -> None:
        """Import aiohttp now."""
        await self._client.ready()

    async def close(self) -> None:
        """Close kept-alive connections."""
        await self._client.close()

    async def read(
        self,
        url: str,
        *,
        limit: int,
        reach: Reach,
        redirects: int = 0,
        on_redirect: Callable[[str], None] = ignore_redirect,
    ) -> bytes:
        """Return a small document."""
        wanted = Wanted(url, reach, redirects, document=True)
        try:
            async with (
                asyncio.timeout(DOCUMENT_SECONDS),
                self._get(wanted, {}) as (answer, hops),
            ):
                for target in hops.moved:
                    on_redirect(target)
                body = await self._small(url, answer, limit)
                captive_portal.check_document(str(hops.url), answer.kind, body)
                return body
        except TimeoutError as error:
            reason = f"it did not arrive within {DOCUMENT_SECONDS} seconds"
            raise FetchFailed(reason, retryable=True) from error

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """Post a small document and return the response body."""
        headers = {"Content-Type": "application/json"}
        wanted = Wanted(url, reach, document=True)
        try:
            async with (
                asyncio.timeout(DOCUMENT_SECONDS),
                self._get(wanted, headers, body=body) as (answer, _),
            ):
                return await self._small(url, answer, limit)
        except TimeoutError as error:
            reason = f"it did not answer within {DOCUMENT_SECONDS} seconds"
            raise FetchFailed(reason, retryable=True) from error

    async def stream(
        self, url: str, *, offset: int, size: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from ``offset`` to ``size``; fail on any other number of bytes."""
        if offset == size:
            return
        at, wanted = offset, Wanted(url, reach, redirects, size=size)
        try:
            # A whole file is requested without a range.
            if at:
                async with aclosing(self._pieces(wanted, at, size - at)) as pieces:
                    async for piece in pieces:
                        at += len(piece)
                        yield piece
        except RangesUnsupported:
            pass
        else:
            if at == size:
                return
            if at:
                raise FetchFailed(f"it ended {size - at} bytes early", retryable=True)
        async with self._get(wanted, {}) as (answer, hops):
            body = whole_of(answer.head, size)
            body = replace(body, skip=body.skip + at, length=size - at)
            part = self._part(answer, body, hops, is_last=True)
            async with aclosing(part.pieces()) as pieces:
                async for piece in pieces:
                    yield piece

    async def span(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """Yield ``length`` bytes from ``offset``; fewer only at the end of the file."""
        async with aclosing(self._pieces(Wanted(url, reach, redirects), offset, length)) as pieces:
            async for piece in pieces:
                yield piece

    async def ranges(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[HttpRangeResponse, None]:
        """Yield the responses that together have ``length`` bytes from ``offset``.

        Read or detach each response before requesting the next one.
        """
        async with aclosing(self._parts(Wanted(url, reach, redirects), offset, length)) as parts:
            async for part in parts:
                yield part

    async def _pieces(
        self, wanted: Wanted, offset: int, length: int
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._parts(wanted, offset, length)) as parts:
            async for part in parts:
                async with aclosing(part.pieces()) as pieces:
                    async for piece in pieces:
                        yield piece

    async def _parts(
        self, wanted: Wanted, offset: int, length: int
    ) -> AsyncGenerator[HttpRangeResponse, None]:
        """Request a range, and its rest while responses are shorter (RFC 9110 section 15.3.7)."""
        for number in range(MAX_PARTS if length else 0):
            ranges = {"Range": f"bytes={offset}-{offset + length - 1}"}
            async with self._get(wanted, ranges) as (answer, hops):
                head = answer.head
                if number and head.status == NO_SUCH_RANGE:
                    return
                if wanted.size is not None and head.status == OK:
                    body = whole_of(head, wanted.size)
                    body = replace(body, skip=offset, length=length)
                else:
                    body = part_of(head, offset, length)
                is_last = body.ends or body.length == length
                part = self._part(answer, body, hops, is_last=is_last)
                yield part
            offset, length = offset + part.given, length - part.given
            if not length or body.ends:
                return
            if not part.given:
                raise FetchFailed("it sent nothing of the part that was asked for", retryable=True)
        if length:
            raise FetchFailed(f"it sends a part in more than {MAX_PARTS} answers", retryable=False)

    def _part(
        self, answer: Response, body: Body, hops: Redirects, *, is_last: bool
    ) -> HttpRangeResponse:
        near = partial(self._near, hops.url.host)
        return HttpRangeResponse(answer, body, near=near, is_last=is_last)

    async def _small(self, url: str, answer: Response, limit: int) -> bytes:
        """Return the body of the response to a request without a range."""
        head = answer.head
        if head.status != OK:
            raise failure_of(url, head, self._wall())
        return await whole(answer.pieces(), coding_of(head), limit=limit)

    @asynccontextmanager
    async def _get(
        self, wanted: Wanted, headers: dict[str, str], *, body: bytes | None = None
    ) -> AsyncIterator[tuple[Response, Redirects]]:
        """Send the request and follow permitted redirects."""
        try:
            url = Url.parse(wanted.url)
        except BadUrl as error:
            raise FetchFailed(f"it is no usable URL: {error}", retryable=False) from error
        hops = Redirects(url, limit=wanted.redirects, document=wanted.document)
        check = partial(self._check_reach, wanted.reach)
        while True:
            async with self._client.send(hops, headers, body, check=check) as answer:
                if answer.head.status not in REDIRECTS:
                    hops.check_page(answer.head.status, answer.kind)
                    if answer.head.status not in {OK, PARTIAL, NO_SUCH_RANGE}:
                        raise failure_of(str(hops.url), answer.head, self._wall())
                    yield answer, hops
                    return
                location, scope = answer.location, self._client.scope_of(hops.url)
            hops.follow(location, scope)

    def _check_reach(self, reach: Reach, host: str) -> None:
        """Refuse hosts beyond the LAN, and names, because a DNS query leaves the LAN."""
        if reach is Reach.LAN and not self._near(host):
            reason = (
                f"this mode asks nobody beyond this network, and {host} is not an address in it"
            )
            raise FetchFailed(reason, retryable=False)


class HttpRangeResponse:
    """Implements `privsep.fd_passing.RangeResponse`: a response with bytes of a range."""

    def __init__(
        self, answer: Response, body: Body, *, near: Callable[[], bool], is_last: bool
    ) -> None:
        """Wrap a response and the position of the range in it.

        ``near`` returns whether its server is near. It lists the interfaces, which takes longer
        than the request of a block, so it is asked only where the connection may be detached.
        """
        self.given = 0
        """Bytes yielded so far."""
        self.is_last = is_last
        """Whether this is the last response of the range."""
        self._answer = answer
        self._body = body
        self._near = near

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes; fail on more or fewer."""
        body, came = self._body, self._answer.pieces()
        skip, left = body.skip, body.length
        async with aclosing(decoded(came, body.coding, limit=skip + left)) as pieces:
            async for piece in pieces:
                fresh, skip = (piece[skip:], max(0, skip - len(piece))) if skip else (piece, 0)
                if len(fresh) > left:
                    if not body.more:
                        raise FetchFailed(f"it sent more than {body.length} bytes", retryable=False)
                    fresh = fresh[:left]
                left -= len(fresh)
                self.given += len(fresh)
                if fresh:
                    yield fresh
                if body.more and not left:
                    return
        if left and body.sure:
            raise FetchFailed(f"it ended {left} bytes early", retryable=True)

    def detach(self) -> PassedBody | None:
        """Detach the socket, if only bytes of the range are left on it.

        The connection is then lost for later requests. That is cheap on the LAN; beyond it, and
        over a slow link, a new connection pays TCP slow start, so none is detached.
        """
        body, length = self._body, self._body.length
        plain = body.coding is Coding.IDENTITY and not body.skip
        if not plain or length < LEAST_DETACHED or self._answer.head.length != length:
            return None
        round_trip = self._answer.round_trip
        if round_trip is None or round_trip > CHEAP_ROUND_TRIP or not self._near():
            return None
        detached = self._answer.detach()
        if detached is None:
            return None
        came, connection = detached
        self.given = length
        return PassedBody(came, length - len(came), connection)
