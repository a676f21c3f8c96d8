"""HTTP and HTTPS connections: the only importer of aiohttp's client.

Settings from measurements (docs/adr/0003-dependencies.md): a stall limit instead of a total
timeout, no content coding, no cookies. `adapters.http.redirects` decides on redirects.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from phase_boot.adapters.http import tls
from phase_boot.adapters.http.redirects import Redirects
from phase_boot.adapters.http.resolver import Resolver, Scopes, TooNear
from phase_boot.adapters.http.response import ResponseHead
from phase_boot.adapters.system.lazy_import import LazyImport
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.url import Scope, Url

if TYPE_CHECKING:
    import aiohttp
    import yarl

CONNECT_SECONDS: Final = 10
BUFFER: Final = 256 * 1024
"""Read buffer in bytes; a smaller one pauses and resumes the connection all the time."""
SMALL_PIECE: Final = 64 * 1024
"""Bytes of a piece of a body from which on it is passed on at once."""
GATHER_SECONDS: Final = 0.005
"""Time for which more bytes are gathered; a read buffer lasts for it at 50 MB/s."""
CERTIFICATES: Final = "SSL_CERT_FILE"
"""Environment variable with OpenSSL's file of trusted certificates."""
HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "phase-boot"}
NO_URL: Final = "it is no usable URL"


_ROUND_TRIP: Final = struct.Struct("=I")
_ROUND_TRIP_AT: Final = 68
"""Where Linux has the smoothed round trip in `struct tcp_info`, in microseconds (linux/tcp.h)."""


def round_trip_of(connection: socket.socket) -> float | None:
    """Return the seconds of a round trip on a TCP connection; None if the kernel does not say."""
    size = _ROUND_TRIP_AT + _ROUND_TRIP.size
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
    except OSError:
        return None
    if len(info) < size:
        return None
    return float(_ROUND_TRIP.unpack_from(info, _ROUND_TRIP_AT)[0]) / 1e6


class Response:
    """A response whose header has been read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        """Wrap aiohttp's response."""
        self.head = ResponseHead(
            status=response.status, headers=response.headers, length=response.content_length
        )
        self.kind = response.content_type
        self._response = response

    @property
    def location(self) -> str | None:
        """The Location header, the target of a redirect."""
        return self._response.headers.get("Location")

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the body as it arrives, and what arrives soon after in one piece.

        Raises:
            FetchFailed: the body stalls, or the connection breaks.
        """
        content = self._response.content
        with _named_failures():
            async for piece in content.iter_any():
                if len(piece) >= SMALL_PIECE or content.at_eof():
                    yield piece
                    continue
                # A slow link brings packet after packet, and each piece costs both processes time.
                await asyncio.sleep(GATHER_SECONDS)
                # What came before a broken connection is passed on before its error.
                yield piece if content.exception() else piece + content.read_nowait()

    def close(self) -> None:
        """Close the connection, and send no more of the body of the request."""
        self._response.close()

    @property
    def round_trip(self) -> float | None:
        """Seconds of a round trip as the kernel measured them; None if it does not say."""
        connection = self._response.connection
        if connection is None or connection.transport is None:
            return None
        return round_trip_of(connection.transport.get_extra_info("socket"))

    def detach(self) -> tuple[bytes, socket.socket] | None:
        """Detach the socket; return the body bytes that were read already, and the socket."""
        response = self._response
        connection = response.connection
        if response.url.scheme != "http" or connection is None or connection.transport is None:
            return None
        # Read before pausing: reading resumes a connection that was paused for a full buffer.
        came = response.content.read_nowait()
        connection.transport.pause_reading()
        ours = connection.transport.get_extra_info("socket")
        detached = socket.socket(fileno=os.dup(ours.fileno()))
        response.close()
        return came, detached


MAX_PROXIES: Final = 256
"""Servers whose proxies are remembered."""


class Client:
    """Sends single requests with aiohttp, which is imported for the first request."""

    def __init__(
        self,
        *,
        stall_seconds: float,
        wall: Callable[[], datetime],
        peek_seconds: float = tls.PEEK_SECONDS,
        scopes: Scopes | None = None,
    ) -> None:
        self._wall = wall
        self._peek_seconds = peek_seconds
        self._library = LazyImport("aiohttp", _without_certificates)
        self._stall = stall_seconds
        self._sessions: dict[Scope | None, aiohttp.ClientSession] = {}
        self._scopes = scopes or Scopes()
        self._tls: ssl.SSLContext | None = None
        self._proxies: dict[yarl.URL, tuple[yarl.URL | None, aiohttp.BasicAuth | None]] = {}

    async def ready(self) -> None:
        """Import aiohttp now."""
        await self._library.ready()

    async def close(self) -> None:
        """Close kept-alive connections."""
        sessions = tuple(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    @asynccontextmanager
    async def send(
        self,
        redirects: Redirects,
        headers: dict[str, str],
        body: bytes | AsyncIterable[bytes] | None,
        *,
        check: Callable[[str], None],
        method: str | None = None,
    ) -> AsyncIterator[Response]:
        """Request the current URL of ``redirects``, by GET, or by POST if there is a body.

        A body that is iterated is sent in chunks, each after the one before it was written.

        ``check`` raises FetchFailed for a forbidden host, which may also be a proxy; ``method``
        names another method.

        Raises:
            FetchFailed: there is no response.
        """
        await self.ready()
        import yarl  # noqa: PLC0415 - it is imported by now, with aiohttp

        with _named_failures():
            # No re-encoding: signatures cover the URL as it is.
            target = yarl.URL(str(redirects.url), encoded=True)
            proxy, proxy_auth = self._proxy_for(target)
            for host in (redirects.url.host, *([proxy.host or ""] if proxy else [])):
                check(host)
            # A proxy resolves the name; the scope limit of redirects does not apply to the proxy.
            session = self._open_session(None if proxy else redirects.farthest)
            context = await self._certificates() if redirects.url.scheme == "https" else True
            try:
                response = await session.request(
                    method or ("GET" if body is None else "POST"),
                    target,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=context,
                    proxy=proxy,
                    proxy_auth=proxy_auth,
                )
            except ssl.CertificateError as error:
                reading = partial(session.get, target, proxy=proxy, proxy_auth=proxy_auth)
                raise await self._distrusted(reading, error) from error
            except ValueError as error:
                raise FetchFailed(NO_URL, retryable=False) from error
            async with response:
                yield Response(response)

    def scope_of(self, url: Url) -> Scope:
        """Return the scope of the server that responded for ``url``."""
        import yarl  # noqa: PLC0415 - it is imported by now, with aiohttp

        unknown = (
            url.scope is Scope.NAME
            and self._proxy_for(yarl.URL(str(url), encoded=True))[0] is not None
        )
        return Scope.PUBLIC if unknown else self._scopes.of(url.host)

    def _proxy_for(self, url: yarl.URL) -> tuple[yarl.URL | None, aiohttp.BasicAuth | None]:
        """Return the environment's proxy for ``url``; it is looked up once for each server."""
        origin = url.origin()
        if origin not in self._proxies:
            if len(self._proxies) == MAX_PROXIES:
                self._proxies.clear()
            self._proxies[origin] = _proxy_for(url)
        return self._proxies[origin]

    async def _distrusted(
        self, get: Callable[..., AbstractAsyncContextManager[object]], error: ssl.CertificateError
    ) -> FetchFailed:
        """Return the failure for a refused certificate, with its validity if that is the cause."""
        peek, cause = tls.Peek(), _inner(error)
        if tls.is_about_dates(cause):
            context = await asyncio.to_thread(peek.context)
            try:
                async with (
                    asyncio.timeout(self._peek_seconds),
                    get(allow_redirects=False, ssl=context),
                ):
                    pass
            except ssl.CertificateError as other:
                # The certificate has another defect than its dates.
                cause = _inner(other)
            except (OSError, TimeoutError, ValueError):
                pass
        return FetchFailed(tls.refusal(cause, peek.validity, self._wall()), retryable=False)

    async def _certificates(self) -> ssl.SSLContext:
        """Return the TLS context with the system's trust store, loaded on first use."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return self._tls

    def _open_session(self, farthest: Scope | None) -> aiohttp.ClientSession:
        """Return the session whose resolver allows redirect targets up to this scope."""
        import aiohttp  # noqa: PLC0415 - it is imported by now, see LazyImport

        if farthest not in self._sessions:
            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=self._stall
            )
            resolver = cast("aiohttp.abc.AbstractResolver", Resolver(self._scopes, farthest))
            self._sessions[farthest] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=timeout,
                headers=HEADERS,
                auto_decompress=False,
                read_bufsize=BUFFER,
            )
        return self._sessions[farthest]


def _without_certificates(name: str) -> object:
    """Import aiohttp without loading the trust store, which only HTTPS needs.

    On a slow machine that takes longer than the rest of the import
    (docs/adr/0003-dependencies.md).
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
    """Return the verification error that aiohttp wraps."""
    found = getattr(error, "certificate_error", error)
    return found if isinstance(found, ssl.CertificateError) else error


@contextmanager
def _named_failures() -> Iterator[None]:
    import aiohttp  # noqa: PLC0415 - it is imported by now, see LazyImport

    try:
        yield
    except aiohttp.InvalidURL as error:
        raise FetchFailed(NO_URL, retryable=False) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _failure(error) from error


def _failure(error: Exception) -> FetchFailed:
    """Return the failure for a connection error, without aiohttp's own text."""
    import aiohttp  # noqa: PLC0415 - it is imported by now, see LazyImport

    match error:
        case aiohttp.ClientConnectorSSLError():
            return FetchFailed(tls.no_handshake(error.os_error), retryable=True)
        case aiohttp.ConnectionTimeoutError():
            reason = f"no connection came about within {CONNECT_SECONDS} seconds"
            return FetchFailed(reason, retryable=True)
        case aiohttp.ServerTimeoutError():
            return FetchFailed("it stopped answering", retryable=True)
        case aiohttp.ClientConnectorDNSError(os_error=TooNear() as near):
            return FetchFailed(
                f"it redirects to where it may not: {near.strerror}", retryable=False
            )
        case aiohttp.ClientConnectorDNSError():
            reason = "no address is known for its name"
        case aiohttp.ClientPayloadError():
            reason = "it ended before the answer did"
        case aiohttp.ServerDisconnectedError():
            reason = "it was closed without an answer"
        case aiohttp.ClientResponseError():
            reason = "its answer is no HTTP"
        case aiohttp.ClientOSError() | OSError():
            reason = os.strerror(error.errno) if error.errno else "it broke off"
        case _:
            reason = "it broke off"
    return FetchFailed(f"the connection failed: {reason}", retryable=True)


def _proxy_for(url: yarl.URL) -> tuple[yarl.URL | None, aiohttp.BasicAuth | None]:
    """Return the environment's proxy for ``url`` and its credentials.

    aiohttp's `trust_env` would also send passwords from a netrc file.
    """
    from aiohttp.helpers import get_env_proxy_for_url  # noqa: PLC0415 - it is imported by now

    try:
        return get_env_proxy_for_url(url)
    except (LookupError, ValueError):
        return None, None
