"""HTTP request handlers: files, gateway, router, health, announcements, receipts. Uses aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, TypeAlias

from aiohttp import web

from phase_boot.provider.backends.backend import Backend, ServedFile
from phase_boot.provider.events import Emit, ReceiptKept, RequestAnswered
from phase_boot.provider.gateway.block_index import BlockGone, BlockIndex
from phase_boot.provider.gateway.delegated_routing import PROVIDERS_PREFIX, DelegatedRouter
from phase_boot.provider.gateway.record_format import FORMAT, IPNS_PREFIX
from phase_boot.provider.gateway.trustless_gateway import (
    PREFIX,
    GatewayReply,
    GatewayRequest,
    TrustlessGateway,
)
from phase_boot.provider.http import cors
from phase_boot.provider.http.forwarded import NO_PROXIES, TrustedProxies
from phase_boot.provider.http.ranges import HttpRange, RangeNotSatisfiable, parse_range
from phase_boot.provider.http.request_headers import (
    asks_for_record,
    etag_matches,
    if_none_match,
    range_header,
)
from phase_boot.provider.http.responses import RequestStats, json_response, text_response
from phase_boot.provider.http.services import Services
from phase_boot.provider.limits import Limits
from phase_boot.provider.receipt_store import ReceiptRejected, ReceiptStore
from phase_boot.provider.swarm import tracker as tracker_module
from phase_boot.provider.swarm.tracker import BadAnnounce, Tracker
from phase_boot.store.layout import ANNOUNCE, RECEIPTS, read_record_path
from phase_boot.trust.receipt import MAX_BYTES

_OK: Final = 200
_CREATED: Final = 201
_NO_CONTENT: Final = 204
_PARTIAL: Final = 206
_NOT_MODIFIED: Final = 304
_NOT_FOUND: Final = 404
_METHOD_NOT_ALLOWED: Final = 405
_NOT_ACCEPTABLE: Final = 406
_TIMEOUT: Final = 408
_TOO_LARGE: Final = 413
_RANGE_NOT_SATISFIABLE: Final = 416
_UNPROCESSABLE: Final = 422
_INSUFFICIENT_STORAGE: Final = 507
_INTERNAL_ERROR: Final = 500
_FILES_ONLY: Final = Services()
HANDLED: Final = web.RequestKey("answered", bool)


_PostHandler: TypeAlias = Callable[[web.BaseRequest, RequestStats], Awaitable[web.StreamResponse]]


class RequestHandler:
    """Dispatches requests to handlers, and counts the active ones."""

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        emit: Emit,
        services: Services = _FILES_ONLY,
        proxies: TrustedProxies = NO_PROXIES,
    ) -> None:
        """Serve the files of ``backend``.

        Args:
            backend: what is served.
            limits: the ceilings of this provider.
            emit: takes the event of each request.
            services: what is answered beyond files and blocks.
            proxies: the reverse proxies whose word about a client's address counts.
        """
        self._backend = backend
        self._limits = limits
        self._emit = emit
        self._client_of = proxies.client_of
        self._post_routes: dict[str, _PostHandler] = {}
        if services.receipts is not None:
            self._post_routes[RECEIPTS] = partial(self._add_receipt, services.receipts)
        if services.tracker is not None:
            self._post_routes[ANNOUNCE] = partial(self._announce, services.tracker)
        self._upstream = services.upstream
        blocks = BlockIndex(backend)
        self._gateway = TrustlessGateway(blocks)
        provider = services.public_provider
        self._router = None if provider is None else DelegatedRouter(blocks, provider)
        self._active = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and emit its event when it has ended."""
        loop = asyncio.get_running_loop()
        path = request.rel_url.raw_path.removeprefix("/")
        began, stats = loop.time(), RequestStats(headers=cors.headers_for(path))
        request[HANDLED] = True
        self._active += 1
        try:
            response = await self._dispatch(request, path, stats)
        except ConnectionError as error:
            stats.error = stats.error or str(error) or "the peer went away"
            raise
        except asyncio.CancelledError:
            stats.error = "the provider was stopped"
            raise
        except Exception as error:
            # A bug: aiohttp answers with 500, and this event is its only trace.
            stats.status, stats.error = _INTERNAL_ERROR, f"{type(error).__name__}: {error}"
            raise
        finally:
            self._active -= 1
            self._emit(
                RequestAnswered(
                    peer=self._client_of(request),
                    method=request.method,
                    path=request.rel_url.raw_path,
                    status=stats.status,
                    bytes=stats.sent,
                    seconds=round(loop.time() - began, 6),
                    error=stats.error,
                )
            )
        return response

    async def _dispatch(
        self, request: web.BaseRequest, path: str, stats: RequestStats
    ) -> web.StreamResponse:
        if (post_handler := self._post_routes.get(path)) is not None:
            return await post_handler(request, stats)
        if request.method not in {"GET", "HEAD"}:
            return _answer_method(request.method, path, stats)
        if path == "health":
            return await self._health(stats)
        if path.startswith(PREFIX):
            return await self._serve_gateway(request, path.removeprefix(PREFIX), stats)
        if path.startswith(PROVIDERS_PREFIX) and self._router is not None:
            name, accept = path.removeprefix(PROVIDERS_PREFIX), request.headers.get("Accept", "")
            reply = await asyncio.to_thread(self._router.reply, name, accept)
            return await self._send_reply(request, reply, stats)
        return await self._serve_path(request, path, stats)

    async def _serve_path(
        self, request: web.BaseRequest, path: str, stats: RequestStats
    ) -> web.StreamResponse:
        """Serve the file that the mirror layout has at ``path``."""
        if path.startswith(IPNS_PREFIX) and not asks_for_record(request):
            text = f"Only the IPNS record is served here: add ?format={FORMAT}."
            return text_response(stats, _NOT_ACCEPTABLE, text)
        served = await asyncio.to_thread(self._backend.open, path)
        if served is None:
            return text_response(stats, _NOT_FOUND, "This provider has no such file.")
        name = read_record_path(path)
        if name is not None and self._upstream is not None:
            served = await self._upstream.newest(name, served)
        with served.file:
            return await self._serve_file(request, served, stats)

    async def _health(self, stats: RequestStats) -> web.StreamResponse:
        offers = await asyncio.to_thread(self._backend.offers)
        body = {
            "status": "ok" if offers else "empty",
            "requests": self._active,
            "offers": [
                {
                    "channel": offer.channel,
                    "arch": str(offer.arch),
                    "version": offer.version,
                    "manifest_cid": offer.cid,
                }
                for offer in sorted(offers)
            ],
        }
        return json_response(stats, _OK, body)

    async def _add_receipt(
        self, receipts: ReceiptStore, request: web.BaseRequest, stats: RequestStats
    ) -> web.StreamResponse:
        """Store a receipt that a booted machine posts."""
        raw = await self._read_post(request, stats, "A receipt", MAX_BYTES)
        if isinstance(raw, web.Response):
            return raw
        try:
            stored = await asyncio.to_thread(receipts.add, raw, self._client_of(request))
        except ReceiptRejected as refusal:
            stats.error = refusal.code
            status = _INSUFFICIENT_STORAGE if refusal.full else _UNPROCESSABLE
            return json_response(stats, status, {"code": refusal.code, "error": str(refusal)})
        receipt = stored.receipt
        if not stored.known:
            self._emit(
                ReceiptKept(
                    peer=self._client_of(request),
                    node=receipt.node,
                    job=receipt.job,
                    outcome=receipt.outcome,
                    file=stored.path.name,
                )
            )
        return json_response(stats, _OK if stored.known else _CREATED, {"file": stored.path.name})

    async def _announce(
        self, tracker: Tracker, request: web.BaseRequest, stats: RequestStats
    ) -> web.StreamResponse:
        """Answer an announcement to the tracker."""
        raw = await self._read_post(request, stats, "An announcement", tracker_module.MAX_BYTES)
        if isinstance(raw, web.Response):
            return raw
        now = asyncio.get_running_loop().time()
        if tracker.is_stale(now):
            await asyncio.to_thread(tracker.refresh, now)
        try:
            return json_response(stats, _OK, tracker.announce(self._client_of(request), raw, now))
        except BadAnnounce as refusal:
            return json_response(stats, _UNPROCESSABLE, {"error": str(refusal)})

    async def _read_post(
        self, request: web.BaseRequest, stats: RequestStats, subject: str, max_bytes: int
    ) -> bytes | web.Response:
        """Return the body of a POST request, or the response that refuses it."""
        if request.method != "POST":
            return text_response(
                stats, _METHOD_NOT_ALLOWED, f"{subject} must be sent by POST.", Allow="POST"
            )
        try:
            async with asyncio.timeout(self._limits.request_read_seconds):
                raw = await _read_body(request, max_bytes)
        except TimeoutError:
            return text_response(stats, _TIMEOUT, f"{subject} took too long to arrive.")
        if raw is None:
            return text_response(stats, _TOO_LARGE, f"{subject} has at most {max_bytes} bytes.")
        return raw

    async def _serve_gateway(
        self, request: web.BaseRequest, path: str, stats: RequestStats
    ) -> web.StreamResponse:
        gateway_request = GatewayRequest(
            path,
            request.rel_url.query,
            accept=request.headers.get("Accept", ""),
            if_none_match=if_none_match(request),
            only_if_cached="only-if-cached" in request.headers.get("Cache-Control", ""),
        )
        reply = await asyncio.to_thread(self._gateway.reply, gateway_request)
        return await self._send_reply(request, reply, stats)

    async def _send_reply(
        self, request: web.BaseRequest, reply: GatewayReply, stats: RequestStats
    ) -> web.StreamResponse:
        if reply.pieces is None and reply.body is None and not reply.headers:
            return text_response(stats, reply.status, reply.text)
        stats.status = reply.status
        response = web.StreamResponse(
            status=reply.status, headers={**stats.headers, **reply.headers}
        )
        if reply.body is not None:
            response.content_length = len(reply.body)
        await response.prepare(request)
        if request.method == "GET":
            pieces = iter([reply.body]) if reply.body else reply.pieces
            await self._stream(request, response, pieces or iter(()), stats)
        await response.write_eof()
        return response

    async def _stream(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        pieces: Iterator[bytes],
        stats: RequestStats,
    ) -> None:
        """Send a body as it is produced.

        Raises:
            ConnectionError: the client left or is too slow, or a block can no longer be read.
        """
        while True:
            try:
                data = await asyncio.to_thread(_read_batch, pieces, self._limits.chunk_bytes)
                async with asyncio.timeout(self._limits.chunk_seconds):
                    await response.write(data)
            except (BlockGone, TimeoutError) as error:
                # A body without a length that ends looks complete: only a reset marks the failure.
                if request.transport is not None:
                    request.transport.abort()
                stats.error = "the peer is too slow, or a file was changed"
                raise ConnectionAbortedError(stats.error) from error
            if not data:
                return
            stats.sent += len(data)

    async def _serve_file(
        self, request: web.BaseRequest, served: ServedFile, stats: RequestStats
    ) -> web.StreamResponse:
        headers = {
            **stats.headers,
            "Accept-Ranges": "bytes",
            "Cache-Control": served.cache_control,
            "Content-Type": served.content_type,
            "ETag": served.etag,
        }
        if etag_matches(request, served.etag):
            stats.status = _NOT_MODIFIED
            return web.Response(status=_NOT_MODIFIED, headers=headers)
        try:
            span = parse_range(range_header(request, served.etag), served.size)
        except RangeNotSatisfiable:
            headers["Content-Range"] = f"bytes */{served.size}"
            stats.status = _RANGE_NOT_SATISFIABLE
            return web.Response(status=_RANGE_NOT_SATISFIABLE, headers=headers)
        if span is not None:
            last = span.start + span.count - 1
            headers["Content-Range"] = f"bytes {span.start}-{last}/{served.size}"
        stats.status = _OK if span is None else _PARTIAL
        span = span or HttpRange(0, served.size)
        if served.has_range is not None and not served.has_range(span.start, span.count):
            status = _NOT_FOUND if stats.status == _OK else _RANGE_NOT_SATISFIABLE
            return text_response(stats, status, "This peer does not have all of these bytes yet.")
        response = web.StreamResponse(status=stats.status, headers=headers)
        response.content_length = span.count
        await response.prepare(request)
        if request.method == "GET":
            await self._send_file(request, served, span, stats)
        await response.write_eof()
        return response

    async def _send_file(
        self, request: web.BaseRequest, served: ServedFile, span: HttpRange, stats: RequestStats
    ) -> None:
        """Send bytes of a file with sendfile.

        Raises:
            ConnectionError: the client left or is too slow, or the file became shorter.
        """
        loop = asyncio.get_running_loop()
        while stats.sent < span.count:
            transport = request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the peer went away")
            count = min(self._limits.chunk_bytes, span.count - stats.sent)
            sent = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.chunk_seconds):
                    sent = await loop.sendfile(
                        transport, served.file, span.start + stats.sent, count
                    )
            stats.sent += sent
            if sent < count:
                # Content-Length can no longer be met: only a reset marks the failure.
                transport.abort()
                stats.error = "the peer is too slow, or the file became shorter"
                raise ConnectionAbortedError(stats.error)


def _answer_method(method: str, path: str, stats: RequestStats) -> web.Response:
    """Answer a preflight request of a browser, and refuse any other method."""
    if method == "OPTIONS" and cors.is_open(path):
        return text_response(stats, _NO_CONTENT, "", **cors.PREFLIGHT)
    text = "Only GET and HEAD are answered."
    return text_response(stats, _METHOD_NOT_ALLOWED, text, Allow="GET, HEAD")


async def _read_body(request: web.BaseRequest, max_bytes: int) -> bytes | None:
    """Return the body of a request, or None as soon as it exceeds ``max_bytes``."""
    if (request.content_length or 0) > max_bytes:
        return None
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > max_bytes:
            return None
    return bytes(body)


def _read_batch(pieces: Iterator[bytes], count: int) -> bytes:
    """Return the next ``count`` bytes or a little more; empty at the end."""
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) >= count:
            break
    return bytes(data)
