"""The process without rights: it does what it is asked, with a finder and a fetcher of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from phase_boot.content.arch import Arch
from phase_boot.outside.handover import Parts, as_payload, hand_over
from phase_boot.outside.wire import (
    MAX_FRAME,
    Broken,
    Kind,
    as_frame,
    read_request,
    readable,
    send,
)
from phase_boot.ports.fetcher import Buffer, Fetcher, FetchFailed
from phase_boot.ports.finder import Finder, FinderFailed, Ignored, Quest
from policies.model import Reach

MAX_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Means:
    """What requests are answered with: without a finder nothing is found.

    ``parts`` is the same fetcher once more, if its answers can be handed over.
    """

    finder: Finder | None
    fetcher: Fetcher
    parts: Parts | None = None


async def serve(control: socket.socket, means: Means) -> None:
    """Answer on every socket that comes over ``control``, until that is closed."""
    running: set[asyncio.Task[None]] = set()
    try:
        while (connection := await _next(control)) is not None:
            if len(running) >= MAX_AT_ONCE:
                connection.close()
                continue
            task = asyncio.create_task(_serve_one(connection, means))
            running.add(task)
            task.add_done_callback(running.discard)
    finally:
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _next(control: socket.socket) -> socket.socket | None:
    """Return the next socket that is handed over, or None when there will be none."""
    await readable(control)
    data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    return socket.socket(fileno=descriptors[0]) if data and descriptors else None


async def _serve_one(connection: socket.socket, means: Means) -> None:
    connection.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    try:
        table = await read_request(connection)
        answering = asyncio.create_task(_answer(table, connection, means))
        # Whoever asked hangs up when it wants no more.
        leaving = asyncio.create_task(readable(connection))
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)
    except (Broken, OSError):
        pass
    finally:
        connection.close()


async def _answer(table: Mapping[str, Any], channel: socket.socket, means: Means) -> None:
    try:
        await _do(table, channel, means)
    except FetchFailed as failure:
        await send(channel, *as_frame(failure))
    except FinderFailed as failure:
        await send(channel, Kind.FAILED, str(failure).encode()[:MAX_FRAME])
    else:
        await send(channel, Kind.END)


async def _do(table: Mapping[str, Any], channel: socket.socket, means: Means) -> None:
    finder, fetcher = means.finder, means.fetcher
    match table["do"]:
        case "find" if finder is not None:
            quest = Quest(
                arch=Arch(table["arch"]),
                channel=table["channel"],
                seconds=table["seconds"],
                urls=(),
            )
            async with aclosing(finder.find(quest)) as candidates:
                async for each in candidates:
                    if isinstance(each, Ignored):
                        await send(channel, Kind.IGNORED, _as_bytes(each.reason))
                    else:
                        await send(channel, Kind.FOUND, _as_bytes(f"{each.url}\n{each.who}"))
        case "read":
            targets: list[str] = []
            body = await fetcher.read(
                table["url"], limit=table["limit"], moved=targets.append, **_bounds(table)
            )
            for target in targets:
                await send(channel, Kind.MOVED, target.encode()[:MAX_FRAME])
            await _send_data(channel, body)
        case "stream":
            pieces = fetcher.stream(
                table["url"], offset=table["offset"], size=table["size"], **_bounds(table)
            )
            await _send_all(channel, pieces)
        case "span":
            await _send_span(table, channel, means)


async def _send_span(table: Mapping[str, Any], channel: socket.socket, means: Means) -> None:
    url, offset, length = table["url"], table["offset"], table["length"]
    if means.parts is None:
        pieces = means.fetcher.span(url, offset=offset, length=length, **_bounds(table))
        await _send_all(channel, pieces)
        return
    answers = means.parts.parts(url, offset=offset, length=length, **_bounds(table))
    async with aclosing(answers) as parts:
        async for part in parts:
            # After a connection that is handed over nothing more is sent here.
            rest = part.detach() if part.is_last else None
            if rest is None:
                await _send_all(channel, part.pieces())
                continue
            with rest.connection:
                await _send_data(channel, rest.came)
                await send(channel, Kind.REST, as_payload(rest.left))
                await hand_over(channel, rest.connection)


def _bounds(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a request may go."""
    return {"reach": Reach(table["reach"]), "redirects": table["redirects"]}


async def _send_all(channel: socket.socket, pieces: AsyncGenerator[Buffer, None]) -> None:
    async with aclosing(pieces):
        async for piece in pieces:
            await _send_data(channel, piece)


async def _send_data(channel: socket.socket, body: Buffer) -> None:
    if len(body) <= MAX_FRAME:
        await send(channel, Kind.DATA, body)
        return
    for start in range(0, len(body), MAX_FRAME):
        await send(channel, Kind.DATA, body[start : start + MAX_FRAME])


def _as_bytes(text: str) -> bytes:
    """Return a text of strangers as UTF-8, whatever it holds."""
    return text.encode("utf-8", "replace")
