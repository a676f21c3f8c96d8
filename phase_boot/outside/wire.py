"""What goes over the socket of one request: one line there, frames back.

A frame is one byte of kind, four bytes of length (big endian) and so many bytes. The other side
may be in an attacker's hands: every length is bounded before it is believed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

MAX_REQUEST: Final = 16 * 1024
MAX_FRAME: Final = 256 * 1024
_HEAD: Final = struct.Struct("!BI")


class Kind(IntEnum):
    """What a frame is."""

    DATA = 1
    """A piece of a body."""
    FOUND = 2
    """The URL of a candidate."""
    END = 3
    """There is nothing more."""
    FAILED = 4
    """It cannot be had: the reason."""
    FAILED_FOR_NOW = 5
    """The same, and asking once more may help."""
    INTERCEPTED = 6
    """The network answered instead of whom was asked: how."""


class Broken(Exception):
    """The other side ended, or does not keep to this protocol."""


async def readable(channel: socket.socket) -> None:
    """Return when there is something to read from ``channel``, be it only its end."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    loop.add_reader(channel, news.set)
    try:
        await news.wait()
    finally:
        loop.remove_reader(channel)


def request(**fields: object) -> bytes:
    """Return the line that asks for something."""
    return json.dumps(fields).encode() + b"\n"


async def read_request(reader: asyncio.StreamReader) -> Mapping[str, object]:
    """Return what is asked for.

    Raises:
        Broken: it is no line with a JSON object.
    """
    try:
        table = json.loads(await reader.readuntil(b"\n"))
    except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise Broken(f"no request: {error}") from error
    if not isinstance(table, dict):
        raise Broken("no request")
    return table


async def send(writer: asyncio.StreamWriter, kind: Kind, payload: bytes = b"") -> None:
    """Send a frame, and wait until the other side has room again."""
    writer.write(_HEAD.pack(kind, len(payload)))
    writer.write(payload)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> tuple[Kind, bytes]:
    """Return the next frame.

    Raises:
        Broken: it is none, or too large.
    """
    try:
        number, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if length > MAX_FRAME:
            raise Broken(f"a frame of {length} bytes")
        return Kind(number), await reader.readexactly(length)
    except (asyncio.IncompleteReadError, OSError, ValueError) as error:
        raise Broken(f"no frame: {error}") from error
