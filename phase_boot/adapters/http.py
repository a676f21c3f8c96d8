"""Fetching over HTTP and HTTPS: the only importer of aiohttp's client.

Settings follow what was measured (docs/adr/0003-dependencies.md): no total time limit but a
stall limit, no content coding, no redirects, and never more bytes than were signed for.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from phase_boot.adapters import portal, tls
from phase_boot.adapters.late import Late
from phase_boot.adapters.link import on_link
from phase_boot.machine.backoff import PASSING_STATUSES
from phase_boot.ports.fetcher import FetchFailed, OnlyWhole, Rest
from phase_boot.ports.finder import host_of
from policies.model import Reach

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS: Final = 10
BUFFER: Final = 256 * 1024
"""Bytes of an answer that may wait here: with fewer the connection is stopped and started."""
STALL_SECONDS: Final = 15
"""Nothing came for so long: the source hangs."""
DOCUMENT_SECONDS: Final = 30
"""A small document takes no longer in all."""
CERTIFICATES: Final = "SSL_CERT_FILE"
"""The variable by which OpenSSL is told where certificates are."""
LEAST_DETACHED: Final = 1024 * 1024
"""For fewer bytes no connection is given up."""
HTTP_OK: Final = 200
HTTP_PARTIAL: Final = 206
HTTP_GONE: Final = frozenset({404, 410})
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "phase-boot"}


class Http:
    """Implements `ports.fetcher.Fetcher` with aiohttp, which is imported when first needed.

    ``near`` tells whether an address is reached without a router.
    """

    def __init__(
        self,
        *,
        stall_seconds: float = STALL_SECONDS,
        near: Callable[[str], bool] = on_link,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        peek_seconds: float = tls.PEEK_SECONDS,
    ) -> None:
        self._near = near
        self._wall = wall
        self._peek_seconds = peek_seconds
        self._library = Late("aiohttp", _without_certificates)
        self._stall = stall_seconds
        self._session: aiohttp.ClientSession | None = None
        self._tls: ssl.SSLContext | None = None

    async def warm(self) -> None:
        """Import aiohttp now."""
        await self._library.ready()

    async def close(self) -> None:
        """Close the connections that are kept alive."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(self, url: str, *, limit: int, reach: Reach) -> bytes:
        """Return a small document, whole."""
        self._check_reach(url, reach)
        try:
            async with asyncio.timeout(DOCUMENT_SECONDS), self._get(url, {}) as response:
                if response.status != HTTP_OK:
                    raise _status_failure(url, response)
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > limit:
                        raise FetchFailed(f"it is larger than {limit} bytes", again=False)
                portal.check_document(url, response.content_type, bytes(body))
                return bytes(body)
        except TimeoutError as error:
            reason = f"it did not arrive within {DOCUMENT_SECONDS} seconds"
            raise FetchFailed(reason, again=True) from error

    async def tell(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """Post a small document and return the answer, whole."""
        self._check_reach(url, reach)
        answer = bytearray()
        headers = {"Content-Type": "application/json"}
        try:
            async with (
                asyncio.timeout(DOCUMENT_SECONDS),
                self._get(url, headers, body=body) as response,
            ):
                if response.status != HTTP_OK:
                    raise _status_failure(url, response)
                async for piece in response.content.iter_any():
                    answer += piece
                    if len(answer) > limit:
                        raise FetchFailed(f"it is larger than {limit} bytes", again=False)
                return bytes(answer)
        except TimeoutError as error:
            reason = f"it did not answer within {DOCUMENT_SECONDS} seconds"
            raise FetchFailed(reason, again=True) from error

    async def stream(
        self, url: str, *, offset: int, size: int, reach: Reach
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from ``offset`` to ``size``; anything else is a failure."""
        if offset == size:
            return
        self._check_reach(url, reach)
        ranges = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._get(url, ranges) as response:
            skip = _bytes_to_skip(url, response, offset, size)
            left = size - offset
            async for piece in response.content.iter_any():
                fresh, skip = piece[skip:], max(0, skip - len(piece))
                if len(fresh) > left:
                    raise FetchFailed(f"it sent more than {size} bytes", again=False)
                left -= len(fresh)
                if fresh:
                    yield fresh
            if left:
                raise FetchFailed(f"it ended {left} bytes early", again=True)

    async def span(
        self, url: str, *, offset: int, length: int, reach: Reach
    ) -> AsyncGenerator[bytes, None]:
        """Yield ``length`` bytes from ``offset`` on, fewer only where the file ends."""
        if length:
            async with self.part(url, offset=offset, length=length, reach=reach) as part:
                async for piece in part.pieces():
                    yield piece

    @asynccontextmanager
    async def part(
        self, url: str, *, offset: int, length: int, reach: Reach
    ) -> AsyncIterator[HttpPart]:
        """Ask for ``length`` bytes, at least one, from ``offset`` on; nobody has more of them."""
        self._check_reach(url, reach)
        ranges = {"Range": f"bytes={offset}-{offset + length - 1}"}
        async with self._get(url, ranges) as response:
            left, whole = _bytes_of_part(url, response, offset, length)
            yield HttpPart(response, left, whole=whole, near=self._near)

    def _check_reach(self, url: str, reach: Reach) -> None:
        """Refuse what lies beyond; a name may, and asking for its address goes beyond already."""
        host = host_of(url)
        if reach is Reach.LAN and not self._near(host):
            reason = (
                f"this mode asks nobody beyond this network, and {host} is not an address in it"
            )
            raise FetchFailed(reason, again=False)

    @asynccontextmanager
    async def _get(
        self, url: str, headers: dict[str, str], *, body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        await self._library.ready()
        session = self._open_session()
        with _named_failures():
            context = await self._certificates() if url.startswith("https:") else True
            try:
                response = await session.request(
                    "GET" if body is None else "POST",
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=context,
                )
            except ssl.CertificateError as error:
                raise await self._distrusted(url, error) from error
            except ValueError as error:
                raise FetchFailed(f"it is no usable URL: {error}", again=False) from error
            async with response:
                yield response

    async def _distrusted(self, url: str, error: ssl.CertificateError) -> FetchFailed:
        """Return the failure of a server whose certificate was refused, with its dates."""
        peek, cause = tls.Peek(), _inner(error)
        if tls.is_about_dates(cause):
            context = await asyncio.to_thread(peek.context)
            try:
                async with (
                    asyncio.timeout(self._peek_seconds),
                    self._open_session().get(url, allow_redirects=False, ssl=context),
                ):
                    pass
            except ssl.CertificateError as other:
                # With any date it would be refused all the same.
                cause = _inner(other)
            except (OSError, TimeoutError, ValueError):
                pass
        return FetchFailed(tls.refusal(cause, peek.validity, self._wall()), again=False)

    async def _certificates(self) -> ssl.SSLContext:
        """Return the authorities that this machine trusts for HTTPS, read when first needed."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    def _open_session(self) -> aiohttp.ClientSession:
        import aiohttp  # noqa: PLC0415 - it is imported by now, see Late

        if self._session is None:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=self._stall
            )
            self._session = aiohttp.ClientSession(
                timeout=timeout,
                headers=HEADERS,
                auto_decompress=False,
                trust_env=True,
                read_bufsize=BUFFER,
            )
        return self._session


class HttpPart:
    """Implements `outside.handover.Part`: what answers a request for a span."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        left: int,
        *,
        whole: bool,
        near: Callable[[str], bool],
    ) -> None:
        """Take an answer of so many bytes; if it is ``whole`` more come after them."""
        self._response = response
        self._left = left
        self._whole = whole
        self._near = near

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes; anything else is a failure."""
        left, whole = self._left, self._whole
        async for piece in self._response.content.iter_any():
            if len(piece) > left and not whole:
                raise FetchFailed(f"it sent more than {self._left} bytes", again=False)
            fresh = piece[:left]
            left -= len(fresh)
            if fresh:
                yield fresh
            if whole and not left:
                # Whoever sends files only as a whole has sent enough.
                return
        if left and not whole:
            raise FetchFailed(f"it ended {left} bytes early", again=True)

    def detach(self) -> Rest | None:
        """Give up the connection, where it has nothing to say but the bytes that are left.

        It costs a connection, which is nothing in this network and too much beyond it: there a new
        one begins slowly.
        """
        response, url = self._response, self._response.url
        worth_it = self._left >= LEAST_DETACHED and url.scheme == "http" and url.host is not None
        connection = response.connection
        if (
            not worth_it
            or connection is None
            or connection.transport is None
            or response.content_length != self._left
            or not self._near(str(url.host))
        ):
            return None
        # In this order: reading lets a connection go on that was stopped for having sent too much.
        came = response.content.read_nowait()
        connection.transport.pause_reading()
        left = self._left - len(came)
        ours = connection.transport.get_extra_info("socket")
        detached = socket.socket(fileno=os.dup(ours.fileno()))
        response.close()
        return Rest(came, left, detached)


def _without_certificates(name: str) -> object:
    """Import aiohttp without the certificates that it reads at once, and for HTTPS only.

    On a slow machine they take longer than everything else of it (docs/adr/0003-dependencies.md).
    """
    kept = os.environ.get(CERTIFICATES)
    os.environ[CERTIFICATES] = os.devnull
    try:
        return importlib.import_module(name)
    finally:
        if kept is None:
            del os.environ[CERTIFICATES]
        else:
            os.environ[CERTIFICATES] = kept


def _inner(error: ssl.CertificateError) -> ssl.CertificateError:
    """Return what verification said, which aiohttp wraps."""
    found = getattr(error, "certificate_error", error)
    return found if isinstance(found, ssl.CertificateError) else error


@contextmanager
def _named_failures() -> Iterator[None]:
    import aiohttp  # noqa: PLC0415 - it is imported by now, see Late

    try:
        yield
    except aiohttp.InvalidURL as error:
        raise FetchFailed("it is no usable URL", again=False) from error
    except aiohttp.ClientConnectorSSLError as error:
        raise FetchFailed(tls.no_handshake(error.os_error), again=True) from error
    except aiohttp.ServerTimeoutError as error:
        raise FetchFailed("it stopped answering", again=True) from error
    except (aiohttp.ClientError, OSError) as error:
        raise FetchFailed(f"the connection failed: {error}", again=True) from error


def _bytes_to_skip(url: str, response: aiohttp.ClientResponse, offset: int, size: int) -> int:
    """Return how many bytes of the answer we have already; refuse an answer that cannot fit."""
    if "Content-Encoding" in response.headers:
        raise FetchFailed("it changed the bytes by a content encoding", again=False)
    if response.status == HTTP_PARTIAL:
        told = response.headers.get("Content-Range", "")
        if told != f"bytes {offset}-{size - 1}/{size}" or not offset:
            raise FetchFailed(f"it answered with the range {told!r:.80}", again=False)
        return 0
    if response.status != HTTP_OK:
        raise _status_failure(url, response)
    length = response.content_length
    if length is not None and length != size:
        raise FetchFailed(f"it has {length} bytes where {size} were signed", again=False)
    return offset


def _bytes_of_part(
    url: str, response: aiohttp.ClientResponse, offset: int, length: int
) -> tuple[int, bool]:
    """Return how many bytes are to come, and whether the whole file does; refuse what cannot fit.

    An answer has fewer bytes than were asked for only where it says that the file ends there.
    """
    if "Content-Encoding" in response.headers:
        raise FetchFailed("it changed the bytes by a content encoding", again=False)
    if response.status == HTTP_PARTIAL:
        told = response.headers.get("Content-Range", "")
        found = _RANGE.fullmatch(told)
        first, last, size = map(int, found.groups()) if found else (-1, -1, 0)
        if first != offset or last != min(offset + length, size) - 1 or last < first:
            raise FetchFailed(f"it answered with the range {told!r:.80}", again=False)
        return last - first + 1, False
    if response.status != HTTP_OK:
        raise _status_failure(url, response)
    if offset:
        raise OnlyWhole("it sends files only as a whole")
    return length, True


def _status_failure(url: str, response: aiohttp.ClientResponse) -> FetchFailed:
    status = response.status
    if status in HTTP_GONE:
        return FetchFailed(f"it does not have it (HTTP {status})", again=False)
    if status in portal.REDIRECTS or status == portal.SIGN_IN:
        return portal.redirected(url, status, response.headers.get("Location"))
    return FetchFailed(f"it answered HTTP {status}", again=status in PASSING_STATUSES)
