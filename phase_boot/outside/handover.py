"""The rest of an answer, read by ourselves: the other process hands over the connection it is on.

What it says about an answer was in the headers, and it has read those. The bytes after them go
through fewer hands so. They are hashed as all others are; of the connection we believe nothing but
that it may say something: a read never waits, and takes no more than is still to come.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncGenerator
from typing import Final, Protocol

from phase_boot.outside.wire import Broken, readable, writable
from phase_boot.ports.fetcher import FetchFailed, PassedBody
from policies.model import Reach

STALL_SECONDS: Final = 15
"""Nothing came for so long: the source hangs."""
MOST: Final = 1024 * 1024
"""Bytes that are read at once."""
_LEFT: Final = struct.Struct("!Q")


class Part(Protocol):
    """An answer with the bytes of a span."""

    @property
    def is_last(self) -> bool:
        """Whether the span ends with them."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield them."""

    def detach(self) -> PassedBody | None:
        """Give up the connection that they come over; None if they cannot be read from that."""


class Parts(Protocol):
    """A fetcher whose answers can be handed over."""

    def parts(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[Part, None]:
        """Yield answers with ``length`` bytes from ``offset`` on; it fails as `Fetcher.span` does.

        Each is read, or its connection given up, before the next one is asked for.
        """


def as_payload(left: int) -> bytes:
    """Return what says how many bytes are left."""
    return _LEFT.pack(left)


async def hand_over(channel: socket.socket, connection: socket.socket) -> None:
    """Send the connection, after the frame that says how many bytes are left on it.

    Raises:
        OSError: nobody takes it.
    """
    while True:
        try:
            socket.send_fds(channel, [b"\n"], [connection.fileno()])
        except BlockingIOError:
            await writable(channel)
        else:
            return


async def taken_over(channel: socket.socket, payload: bytearray) -> AsyncGenerator[bytes, None]:
    """Yield what comes over the connection that follows a frame with this ``payload``.

    Raises:
        Broken: there is none.
        FetchFailed: it breaks off or stands still.
    """
    if len(payload) != _LEFT.size:
        raise Broken("it does not say how many bytes are left")
    (left,) = _LEFT.unpack(payload)
    await readable(channel)
    connection = _received(channel)
    with connection:
        while left:
            piece = await _some(connection, min(left, MOST))
            if not piece:
                raise FetchFailed(f"it ended {left} bytes early", retryable=True)
            left -= len(piece)
            yield piece


def _received(channel: socket.socket) -> socket.socket:
    """Return the connection that was sent; whatever else it is, is closed."""
    try:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    except OSError as error:
        raise Broken(f"no connection: {error}") from error
    if not descriptors:
        raise Broken("no connection")
    try:
        return socket.socket(fileno=descriptors[0])
    except OSError as error:
        os.close(descriptors[0])
        raise Broken(f"no connection: {error}") from error


async def _some(connection: socket.socket, most: int) -> bytes:
    """Return what is there, and wait for it where nothing is."""
    # However much there is, others get their turn.
    await asyncio.sleep(0)
    while True:
        try:
            # Whoever handed it over has it too, and could make it a connection that waits.
            return connection.recv(most, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError as error:
            raise FetchFailed(f"the connection failed: {error}", retryable=True) from error
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await readable(connection)
        except TimeoutError:
            raise FetchFailed("it stopped answering", retryable=True) from None
