"""What goes over the socket of one request: one line there, frames back.

A frame is one byte of kind, four bytes of length (big endian) and so many bytes. The other side
may be in an attacker's hands: every length is bounded before it is believed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final

from phase_boot.ports.fetcher import Buffer, FetchFailed, Intercepted, RangesUnsupported

MAX_TEXT: Final = 2048
"""Bytes of a reason."""
MAX_NUMBER: Final = 16
"""Characters of a number of seconds."""
MAX_REQUEST: Final = 16 * 1024
MAX_FRAME: Final = 256 * 1024
_HEAD: Final = struct.Struct("!BI")


class Kind(IntEnum):
    """What a frame is."""

    DATA = 1
    """A piece of a body."""
    FOUND = 2
    """The URL of a candidate, and in the next line the name of whoever announced it."""
    END = 3
    """There is nothing more."""
    FAILED = 4
    """It cannot be had: the reason."""
    FAILED_FOR_NOW = 5
    """The same, and asking once more may help: in the first line after how many seconds, if the
    source said so; then the reason."""
    INTERCEPTED = 6
    """The network answered instead of whom was asked: how."""
    RANGES_UNSUPPORTED = 7
    """A part was asked for, and there are none: the reason."""
    REST = 8
    """The bytes that are left come over a connection that is handed over next: how many."""
    MOVED = 9
    """The document comes from another host: the URL that a redirect led to."""
    IGNORED = 10
    """The finder passed something over: the reason."""


class Broken(Exception):
    """The other side ended, or does not keep to this protocol."""


async def readable(channel: socket.socket) -> None:
    """Return when there is something to read from ``channel``, be it only its end."""
    loop = asyncio.get_running_loop()
    await _called(channel, loop.add_reader, loop.remove_reader)


async def writable(channel: socket.socket) -> None:
    """Return when ``channel`` takes something again."""
    loop = asyncio.get_running_loop()
    await _called(channel, loop.add_writer, loop.remove_writer)


async def _called(
    channel: socket.socket,
    watch: Callable[[socket.socket, Callable[[], None]], None],
    leave: Callable[[socket.socket], bool],
) -> None:
    news = asyncio.Event()
    watch(channel, news.set)
    try:
        await news.wait()
    finally:
        leave(channel)


def request(**fields: object) -> bytes:
    """Return the line that asks for something."""
    return json.dumps(fields).encode() + b"\n"


async def ask(channel: socket.socket, asked: bytes) -> None:
    """Send the line that asks for something.

    Raises:
        Broken: the other side is gone.
    """
    try:
        await asyncio.get_running_loop().sock_sendall(channel, asked)
    except OSError as error:
        raise Broken(f"no request taken: {error}") from error


async def read_request(channel: socket.socket) -> Mapping[str, object]:
    """Return what is asked for.

    Raises:
        Broken: it is no line with a JSON object.
    """
    loop, line = asyncio.get_running_loop(), bytearray()
    try:
        while not line.endswith(b"\n"):
            more = await loop.sock_recv(channel, MAX_REQUEST)
            if not more or len(line) + len(more) > MAX_REQUEST:
                raise Broken("no request")
            line += more
        table = json.loads(line)
    except (ValueError, OSError) as error:
        raise Broken(f"no request: {error}") from error
    if not isinstance(table, dict):
        raise Broken("no request")
    return table


async def send(channel: socket.socket, kind: Kind, payload: Buffer = b"") -> None:
    """Send a frame, and wait until the other side has taken it."""
    loop = asyncio.get_running_loop()
    # Two calls, so that no byte of a large payload is copied here.
    await loop.sock_sendall(channel, _HEAD.pack(kind, len(payload)))
    await loop.sock_sendall(channel, payload)


async def receive(channel: socket.socket) -> tuple[Kind, bytearray]:
    """Return the next frame.

    Raises:
        Broken: it is none, or too large.
    """
    try:
        number, length = _HEAD.unpack(await _exactly(channel, _HEAD.size))
        if length > MAX_FRAME:
            raise Broken(f"a frame of {length} bytes")
        return Kind(number), await _exactly(channel, length)
    except (OSError, ValueError) as error:
        raise Broken(f"no frame: {error}") from error


def as_frame(failure: FetchFailed) -> tuple[Kind, bytes]:
    """Return the kind and the payload of the frame that reports ``failure``."""
    text = str(failure)
    match failure:
        case Intercepted():
            kind = Kind.INTERCEPTED
        case RangesUnsupported():
            kind = Kind.RANGES_UNSUPPORTED
        case _ if failure.retryable:
            kind = Kind.FAILED_FOR_NOW
            asked = "" if failure.retry_after is None else f"{failure.retry_after:.3f}"
            text = f"{asked}\n{text}"
        case _:
            kind = Kind.FAILED
    return kind, text.encode()[:MAX_TEXT]


def as_failure(kind: int, payload: Buffer) -> FetchFailed:
    """Return the failure that a frame reports; one that is no report is a failure as well."""
    text = payload[:MAX_TEXT].decode("utf-8", "replace")
    match kind:
        case Kind.INTERCEPTED:
            return Intercepted(text)
        case Kind.RANGES_UNSUPPORTED:
            return RangesUnsupported(text)
        case Kind.FAILED_FOR_NOW:
            asked, _, reason = text.partition("\n")
            said = reason or "it gave no reason"
            return FetchFailed(said, retryable=True, retry_after=_seconds(asked))
        case _:
            return FetchFailed(text or "it gave no reason", retryable=False)


def _seconds(text: str) -> float | None:
    """Return a number of seconds; `FetchFailed` bounds it."""
    try:
        return float(text[:MAX_NUMBER])
    except ValueError:
        return None


async def _exactly(channel: socket.socket, length: int) -> bytearray:
    """Return so many bytes, read into the place where they stay."""
    loop, data = asyncio.get_running_loop(), bytearray(length)
    with memoryview(data) as room:
        done = 0
        while done < length:
            taken = await loop.sock_recv_into(channel, room[done:])
            if not taken:
                raise Broken(f"it ended {length - done} bytes early")
            done += taken
    return data
