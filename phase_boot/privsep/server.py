"""Worker side of the control socket: serves find, read, stream and span requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from phase_boot.content.arch import Arch
from phase_boot.ports.fetcher import Buffer, Fetcher, FetchFailed, ResponseBody
from phase_boot.ports.finder import DiscoveryQuery, Finder, FinderFailed, Ignored
from phase_boot.privsep.fd_passing import RangeFetcher, encode_remaining, pass_socket
from phase_boot.privsep.protocol import (
    MAX_FRAME,
    FrameKind,
    ProtocolError,
    encode_failure,
    receive_request,
    send_frame,
    wait_readable,
)
from policies.model import Reach

MAX_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class WorkerServices:
    """The adapters that serve requests. Without a finder, find requests are refused.

    ``ranges`` is the same fetcher, if its connections can be passed.
    """

    finder: Finder | None
    fetcher: Fetcher
    ranges: RangeFetcher | None = None


async def serve(control: socket.socket, services: WorkerServices) -> None:
    """Serve each socket received over ``control`` until that is closed."""
    running: set[asyncio.Task[None]] = set()
    try:
        while (connection := await _next_connection(control)) is not None:
            if len(running) >= MAX_AT_ONCE:
                connection.close()
                continue
            task = asyncio.create_task(_serve_one(connection, services))
            running.add(task)
            task.add_done_callback(running.discard)
    finally:
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _next_connection(control: socket.socket) -> socket.socket | None:
    """Return the next request socket, or None at the end of ``control``."""
    await wait_readable(control)
    data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    return socket.socket(fileno=descriptors[0]) if data and descriptors else None


async def _serve_one(connection: socket.socket, services: WorkerServices) -> None:
    connection.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    try:
        fields = await receive_request(connection)
        answering = asyncio.create_task(_answer(fields, connection, services))
        # The client cancels a request by closing its socket.
        hanging_up = asyncio.create_task(wait_readable(connection))
        try:
            await asyncio.wait({answering, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (answering, hanging_up):
                task.cancel()
            await asyncio.gather(answering, hanging_up, return_exceptions=True)
    except (ProtocolError, OSError):
        pass
    finally:
        connection.close()


async def _answer(
    fields: Mapping[str, Any], channel: socket.socket, services: WorkerServices
) -> None:
    try:
        await _dispatch(fields, channel, services)
    except FetchFailed as failure:
        await send_frame(channel, *encode_failure(failure))
    except FinderFailed as failure:
        await send_frame(channel, FrameKind.FAILED, str(failure).encode()[:MAX_FRAME])
    else:
        await send_frame(channel, FrameKind.END)


async def _dispatch(
    fields: Mapping[str, Any], channel: socket.socket, services: WorkerServices
) -> None:
    finder, fetcher = services.finder, services.fetcher
    match fields["do"]:
        case "find" if finder is not None:
            query = DiscoveryQuery(
                arch=Arch(fields["arch"]),
                channel=fields["channel"],
                seconds=fields["seconds"],
                urls=(),
            )
            async with aclosing(finder.find(query)) as candidates:
                async for each in candidates:
                    if isinstance(each, Ignored):
                        await send_frame(channel, FrameKind.IGNORED, _encode_text(each.reason))
                    else:
                        await send_frame(
                            channel,
                            FrameKind.FOUND,
                            _encode_text(f"{each.url}\n{each.service_name}"),
                        )
        case "read":
            targets: list[str] = []
            body = await fetcher.read(
                fields["url"],
                limit=fields["limit"],
                on_redirect=targets.append,
                **_request_bounds(fields),
            )
            for target in targets:
                await send_frame(channel, FrameKind.MOVED, target.encode()[:MAX_FRAME])
            await _send_data(channel, body)
        case "stream":
            pieces = fetcher.stream(
                fields["url"],
                offset=fields["offset"],
                size=fields["size"],
                **_request_bounds(fields),
            )
            await _send_all(channel, pieces)
        case "span":
            await _send_span(fields, channel, services)


async def _send_span(
    fields: Mapping[str, Any], channel: socket.socket, services: WorkerServices
) -> None:
    url, offset, length = fields["url"], fields["offset"], fields["length"]
    if services.ranges is None:
        pieces = services.fetcher.span(url, offset=offset, length=length, **_request_bounds(fields))
        await _send_all(channel, pieces)
        return
    answers = services.ranges.ranges(url, offset=offset, length=length, **_request_bounds(fields))
    async with aclosing(answers) as ranges:
        async for response in ranges:
            # A PASSED frame is the last frame of a response.
            passed = response.detach() if response.is_last else None
            if passed is None:
                await _send_all(channel, response.pieces())
                continue
            with passed.connection:
                await _send_data(channel, passed.came)
                await send_frame(channel, FrameKind.PASSED, encode_remaining(passed.left))
                await pass_socket(channel, passed.connection)


def _request_bounds(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the reach and the number of redirects that a request allows."""
    return {"reach": Reach(fields["reach"]), "redirects": fields["redirects"]}


async def _send_all(channel: socket.socket, pieces: ResponseBody) -> None:
    async with aclosing(pieces):
        async for piece in pieces:
            await _send_data(channel, piece)


async def _send_data(channel: socket.socket, body: Buffer) -> None:
    if len(body) <= MAX_FRAME:
        await send_frame(channel, FrameKind.DATA, body)
        return
    for start in range(0, len(body), MAX_FRAME):
        await send_frame(channel, FrameKind.DATA, body[start : start + MAX_FRAME])


def _encode_text(text: str) -> bytes:
    """Return untrusted text as UTF-8; surrogates are replaced."""
    return text.encode("utf-8", "replace")
