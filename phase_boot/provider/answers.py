"""Answering HTTP requests for the files of a SITE or a store. The only user of aiohttp's server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from aiohttp import web

from phase_boot.provider import peers as notices
from phase_boot.provider.blocks import Blocks, Gone
from phase_boot.provider.events import ReceiptKept, RequestAnswered, Tell
from phase_boot.provider.files import Goods, Served
from phase_boot.provider.gateway import PREFIX, Asked, Gateway
from phase_boot.provider.limits import Limits
from phase_boot.provider.peers import NoNotice, Noticeboard
from phase_boot.provider.ranges import Span, Unsatisfiable, wanted_span
from phase_boot.provider.receipts import NotKept, Receipts
from phase_boot.store.layout import PEERS, RECEIPTS
from phase_boot.trust.receipt import MAX_BYTES

_OK: Final = 200
_CREATED: Final = 201
_PARTIAL: Final = 206
_NOT_MODIFIED: Final = 304
_NOT_FOUND: Final = 404
_BAD_METHOD: Final = 405
_TIMEOUT: Final = 408
_TOO_LARGE: Final = 413
_UNSATISFIABLE: Final = 416
_UNBELIEVED: Final = 422
_FULL: Final = 507
_BUG: Final = 500
ANSWERED: Final = web.RequestKey("answered", bool)


@dataclass(slots=True)
class _Account:
    """What has become of a request so far."""

    status: int = 0
    sent: int = 0
    error: str | None = None


_Taker: TypeAlias = Callable[[web.BaseRequest, _Account], Awaitable[web.StreamResponse]]


class Answers:
    """What a provider answers, and how many requests it is answering."""

    def __init__(
        self,
        goods: Goods,
        limits: Limits,
        tell: Tell,
        *,
        receipts: Receipts | None = None,
        board: Noticeboard | None = None,
    ) -> None:
        """Answer for ``goods``; without ``receipts`` none are taken.

        On ``board`` machines that fetch find one another.
        """
        self._goods = goods
        self._limits = limits
        self._tell = tell
        self._takers: dict[str, _Taker] = {}
        if receipts is not None:
            self._takers[RECEIPTS] = partial(self._receipt, receipts)
        if board is not None:
            self._takers[PEERS] = partial(self._peers, board)
        self._gateway = Gateway(Blocks(goods))
        self._active = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request and tell about it when it is over."""
        loop = asyncio.get_running_loop()
        began, account = loop.time(), _Account()
        request[ANSWERED] = True
        self._active += 1
        try:
            response = await self._answer(request, account)
        except ConnectionError as error:
            account.error = account.error or str(error) or "the peer went away"
            raise
        except asyncio.CancelledError:
            account.error = "the provider was told to stop"
            raise
        except Exception as error:
            # A bug of ours: aiohttp answers with 500, and this line is what remains of it.
            account.status, account.error = _BUG, f"{type(error).__name__}: {error}"
            raise
        finally:
            self._active -= 1
            self._tell(
                RequestAnswered(
                    peer=request.remote or "",
                    method=request.method,
                    path=request.rel_url.raw_path,
                    status=account.status,
                    bytes=account.sent,
                    seconds=round(loop.time() - began, 6),
                    error=account.error,
                )
            )
        return response

    async def _answer(self, request: web.BaseRequest, account: _Account) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix("/")
        if (take := self._takers.get(path)) is not None:
            return await take(request, account)
        if request.method not in {"GET", "HEAD"}:
            return _said(account, _BAD_METHOD, "Only GET and HEAD are answered.", Allow="GET, HEAD")
        if path == "health":
            return await self._health(account)
        if path.startswith(PREFIX):
            return await self._gateway_answer(request, path.removeprefix(PREFIX), account)
        served = await asyncio.to_thread(self._goods.open, path)
        if served is None:
            return _said(account, _NOT_FOUND, "There is no such file here.")
        with served.file:
            return await self._file(request, served, account)

    async def _health(self, account: _Account) -> web.StreamResponse:
        offers = await asyncio.to_thread(self._goods.offers)
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
        return _json(account, _OK, body)

    async def _receipt(
        self, receipts: Receipts, request: web.BaseRequest, account: _Account
    ) -> web.StreamResponse:
        """Take what a booted machine hands in."""
        raw = await self._posted(request, account, "A receipt", MAX_BYTES)
        if isinstance(raw, web.Response):
            return raw
        try:
            kept = await asyncio.to_thread(receipts.keep, raw, request.remote or "")
        except NotKept as refusal:
            account.error = refusal.code
            status = _FULL if refusal.full else _UNBELIEVED
            return _json(account, status, {"code": refusal.code, "error": str(refusal)})
        receipt = kept.receipt
        if not kept.known:
            self._tell(
                ReceiptKept(
                    peer=request.remote or "",
                    node=receipt.node,
                    job=receipt.job,
                    outcome=receipt.outcome,
                    file=kept.path.name,
                )
            )
        return _json(account, _OK if kept.known else _CREATED, {"file": kept.path.name})

    async def _peers(
        self, board: Noticeboard, request: web.BaseRequest, account: _Account
    ) -> web.StreamResponse:
        """Tell a machine that fetches of others that do, in exchange for what it holds."""
        raw = await self._posted(request, account, "A notice", notices.MAX_BYTES)
        if isinstance(raw, web.Response):
            return raw
        now = asyncio.get_running_loop().time()
        if board.is_stale(now):
            await asyncio.to_thread(board.look, now)
        try:
            return _json(account, _OK, board.exchange(request.remote or "", raw, now))
        except NoNotice as refusal:
            return _json(account, _UNBELIEVED, {"error": str(refusal)})

    async def _posted(
        self, request: web.BaseRequest, account: _Account, what: str, most: int
    ) -> bytes | web.Response:
        """Return the body of a request that hands something in, or the answer that refuses it."""
        if request.method != "POST":
            return _said(account, _BAD_METHOD, f"{what} is only handed in.", Allow="POST")
        try:
            async with asyncio.timeout(self._limits.silence_seconds):
                raw = await _body(request, most)
        except TimeoutError:
            return _said(account, _TIMEOUT, f"{what} took too long to arrive.")
        if raw is None:
            return _said(account, _TOO_LARGE, f"{what} has at most {most} bytes.")
        return raw

    async def _gateway_answer(
        self, request: web.BaseRequest, path: str, account: _Account
    ) -> web.StreamResponse:
        asked = Asked(
            path,
            request.rel_url.query,
            accept=request.headers.get("Accept", ""),
            known=_known_tags(request),
            cached_only="only-if-cached" in request.headers.get("Cache-Control", ""),
        )
        reply = await asyncio.to_thread(self._gateway.reply, asked)
        if reply.pieces is None and reply.body is None and not reply.headers:
            return _said(account, reply.status, reply.text)
        account.status = reply.status
        response = web.StreamResponse(status=reply.status, headers={**_COMMON, **reply.headers})
        if reply.body is not None:
            response.content_length = len(reply.body)
        await response.prepare(request)
        if request.method == "GET":
            pieces = iter([reply.body]) if reply.body else reply.pieces
            await self._stream(request, response, pieces or iter(()), account)
        await response.write_eof()
        return response

    async def _stream(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        pieces: Iterator[bytes],
        account: _Account,
    ) -> None:
        """Send pieces as they are made, as long as the peer takes them.

        Raises:
            ConnectionError: the peer went away or is too slow, or a block is not there any more.
        """
        while True:
            try:
                data = await asyncio.to_thread(_some, pieces, self._limits.chunk_bytes)
                async with asyncio.timeout(self._limits.chunk_seconds):
                    await response.write(data)
            except (Gone, TimeoutError) as error:
                # A stream that just ended would look whole: only a cut connection says so.
                if request.transport is not None:
                    request.transport.abort()
                account.error = "the peer is too slow, or a file was changed"
                raise ConnectionAbortedError(account.error) from error
            if not data:
                return
            account.sent += len(data)

    async def _file(
        self, request: web.BaseRequest, served: Served, account: _Account
    ) -> web.StreamResponse:
        headers = {
            **_COMMON,
            "Accept-Ranges": "bytes",
            "Cache-Control": served.cache_control,
            "Content-Type": served.content_type,
            "ETag": served.etag,
        }
        if _is_known(request, served.etag):
            account.status = _NOT_MODIFIED
            return web.Response(status=_NOT_MODIFIED, headers=headers)
        try:
            span = wanted_span(_range_header(request, served.etag), served.size)
        except Unsatisfiable:
            headers["Content-Range"] = f"bytes */{served.size}"
            account.status = _UNSATISFIABLE
            return web.Response(status=_UNSATISFIABLE, headers=headers)
        if span is not None:
            last = span.start + span.count - 1
            headers["Content-Range"] = f"bytes {span.start}-{last}/{served.size}"
        account.status = _OK if span is None else _PARTIAL
        span = span or Span(0, served.size)
        if served.holds is not None and not served.holds(span.start, span.count):
            status = _NOT_FOUND if account.status == _OK else _UNSATISFIABLE
            return _said(account, status, "Not all of these bytes are here yet.")
        response = web.StreamResponse(status=account.status, headers=headers)
        response.content_length = span.count
        await response.prepare(request)
        if request.method == "GET":
            await self._send(request, served, span, account)
        await response.write_eof()
        return response

    async def _send(
        self, request: web.BaseRequest, served: Served, span: Span, account: _Account
    ) -> None:
        """Let the kernel copy the bytes to the socket, as long as the peer takes them.

        Raises:
            ConnectionError: the peer went away or is too slow, or the file became shorter.
        """
        loop = asyncio.get_running_loop()
        while account.sent < span.count:
            transport = request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the peer went away")
            count = min(self._limits.chunk_bytes, span.count - account.sent)
            sent = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.chunk_seconds):
                    sent = await loop.sendfile(
                        transport, served.file, span.start + account.sent, count
                    )
            account.sent += sent
            if sent < count:
                # The promised length cannot be kept any more: only a cut connection says so.
                transport.abort()
                account.error = "the peer is too slow, or the file became shorter"
                raise ConnectionAbortedError(account.error)


def _said(account: _Account, status: int, text: str, **headers: str) -> web.Response:
    account.status = status
    account.sent = len(text)
    return web.Response(status=status, text=text, headers={**_COMMON, **headers})


def _json(account: _Account, status: int, body: object) -> web.Response:
    response = _said(account, status, json.dumps(body) + "\n")
    response.content_type = "application/json"
    return response


async def _body(request: web.BaseRequest, most: int) -> bytes | None:
    """Return the body of a request, or None as soon as it is longer than ``most`` bytes."""
    if (request.content_length or 0) > most:
        return None
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most:
            return None
    return bytes(body)


_COMMON: Final = {"Server": "phase-boot", "X-Content-Type-Options": "nosniff"}


def _some(pieces: Iterator[bytes], count: int) -> bytes:
    """Return the next pieces, until they are so many bytes; none at the end."""
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) >= count:
            break
    return bytes(data)


def _known_tags(request: web.BaseRequest) -> tuple[str, ...]:
    return tuple(
        tag.value if tag.value == "*" else f'"{tag.value}"' for tag in request.if_none_match or ()
    )


def _is_known(request: web.BaseRequest, etag: str) -> bool:
    known = request.if_none_match or ()
    return any(tag.value == "*" or f'"{tag.value}"' == etag for tag in known)


def _range_header(request: web.BaseRequest, etag: str) -> str:
    """Return the Range header, or nothing where the client holds a part of other bytes."""
    if request.headers.get("If-Range", etag) != etag:
        return ""
    return request.headers.get("Range", "")
