"""Wire protocol between main process and worker: one JSON line as request, frames as response.

A frame is one byte of kind, four bytes of length (big endian) and a payload of that length. Each
request has a socket of its own. The peer may be compromised: every length is checked against its
bound before it is used.
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
"""Bytes of an error text."""
MAX_SECONDS_TEXT: Final = 16
"""Characters of a decimal number of seconds."""
REPLY_SECONDS: Final = 60.0
"""Time without a frame after which the other process counts as hung.

The worker's own timeouts are shorter.
"""
MAX_REQUEST: Final = 16 * 1024
MAX_FRAME: Final = 256 * 1024
_HEAD: Final = struct.Struct("!BI")


class FrameKind(IntEnum):
    """The kind of a frame."""

    DATA = 1
    """Bytes of a body."""
    FOUND = 2
    """A candidate: its URL, and in the next line the service name that announced it."""
    END = 3
    """End of the response."""
    FAILED = 4
    """Permanent failure: the reason."""
    FAILED_FOR_NOW = 5
    """Temporary failure: the first line holds the Retry-After seconds or nothing, the rest the
    reason."""
    INTERCEPTED = 6
    """The network answered in place of the server (captive portal): the evidence."""
    RANGES_UNSUPPORTED = 7
    """The server does not serve byte ranges: the reason."""
    PASSED = 8
    """The rest of the body follows on a passed socket: the number of bytes."""
    MOVED = 9
    """A redirect to another host: its URL."""
    IGNORED = 10
    """The finder ignored an announcement: the reason."""


class ProtocolError(Exception):
    """The peer closed the socket or violated the protocol."""


async def wait_readable(channel: socket.socket) -> None:
    """Return when ``channel`` has data or end of file to read."""
    loop = asyncio.get_running_loop()
    await _wait_ready(channel, loop.add_reader, loop.remove_reader)


async def wait_writable(channel: socket.socket) -> None:
    """Return when ``channel`` accepts data."""
    loop = asyncio.get_running_loop()
    await _wait_ready(channel, loop.add_writer, loop.remove_writer)


async def _wait_ready(
    channel: socket.socket,
    add_watch: Callable[[socket.socket, Callable[[], None]], None],
    remove_watch: Callable[[socket.socket], bool],
) -> None:
    ready = asyncio.Event()
    add_watch(channel, ready.set)
    try:
        await ready.wait()
    finally:
        remove_watch(channel)


def encode_request(**fields: object) -> bytes:
    """Return a request line."""
    return json.dumps(fields).encode() + b"\n"


async def send_request(channel: socket.socket, line: bytes) -> None:
    """Send a request line.

    Raises:
        ProtocolError: the peer closed the socket.
    """
    try:
        await asyncio.get_running_loop().sock_sendall(channel, line)
    except OSError as error:
        raise ProtocolError(f"no request taken: {error}") from error


async def receive_request(channel: socket.socket) -> Mapping[str, object]:
    """Return the fields of a request.

    Raises:
        ProtocolError: the request is not one line with a JSON object of at most MAX_REQUEST bytes.
    """
    loop, line = asyncio.get_running_loop(), bytearray()
    try:
        while not line.endswith(b"\n"):
            more = await loop.sock_recv(channel, MAX_REQUEST)
            if not more or len(line) + len(more) > MAX_REQUEST:
                raise ProtocolError("no request")
            line += more
        table = json.loads(line)
    except (ValueError, OSError) as error:
        raise ProtocolError(f"no request: {error}") from error
    if not isinstance(table, dict):
        raise ProtocolError("no request")
    return table


async def send_frame(channel: socket.socket, kind: FrameKind, payload: Buffer = b"") -> None:
    """Send a frame; returns when the kernel has accepted all of it."""
    loop = asyncio.get_running_loop()
    # Two calls avoid a copy of a large payload.
    await loop.sock_sendall(channel, _HEAD.pack(kind, len(payload)))
    await loop.sock_sendall(channel, payload)


async def receive_frame(channel: socket.socket) -> tuple[FrameKind, bytearray]:
    """Return the next frame.

    Raises:
        ProtocolError: the frame is invalid or longer than MAX_FRAME.
    """
    try:
        number, length = _HEAD.unpack(await _receive_exactly(channel, _HEAD.size))
        if length > MAX_FRAME:
            raise ProtocolError(f"a frame of {length} bytes")
        return FrameKind(number), await _receive_exactly(channel, length)
    except (OSError, ValueError) as error:
        raise ProtocolError(f"no frame: {error}") from error


def encode_failure(failure: FetchFailed) -> tuple[FrameKind, bytes]:
    """Return kind and payload of the frame that reports ``failure``."""
    text = str(failure)
    match failure:
        case Intercepted():
            kind = FrameKind.INTERCEPTED
        case RangesUnsupported():
            kind = FrameKind.RANGES_UNSUPPORTED
        case _ if failure.retryable:
            kind = FrameKind.FAILED_FOR_NOW
            seconds = "" if failure.retry_after is None else f"{failure.retry_after:.3f}"
            text = f"{seconds}\n{text}"
        case _:
            kind = FrameKind.FAILED
    return kind, text.encode()[:MAX_TEXT]


def decode_failure(kind: int, payload: Buffer) -> FetchFailed:
    """Return the failure that a frame reports; an unexpected kind is a permanent failure."""
    text = payload[:MAX_TEXT].decode("utf-8", "replace")
    match kind:
        case FrameKind.INTERCEPTED:
            return Intercepted(text)
        case FrameKind.RANGES_UNSUPPORTED:
            return RangesUnsupported(text)
        case FrameKind.FAILED_FOR_NOW:
            seconds, _, reason = text.partition("\n")
            reason = reason or "it gave no reason"
            return FetchFailed(reason, retryable=True, retry_after=_parse_seconds(seconds))
        case _:
            return FetchFailed(text or "it gave no reason", retryable=False)


def _parse_seconds(text: str) -> float | None:
    """Return a number of seconds or None; `FetchFailed` bounds it."""
    try:
        return float(text[:MAX_SECONDS_TEXT])
    except ValueError:
        return None


async def _receive_exactly(channel: socket.socket, length: int) -> bytearray:
    """Return exactly ``length`` bytes, received without an intermediate copy."""
    loop, data = asyncio.get_running_loop(), bytearray(length)
    with memoryview(data) as room:
        done = 0
        while done < length:
            taken = await loop.sock_recv_into(channel, room[done:])
            if not taken:
                raise ProtocolError(f"it ended {length - done} bytes early")
            done += taken
    return data
