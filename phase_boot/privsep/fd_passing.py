"""Passing an HTTP connection from the worker to the main process (SCM_RIGHTS).

The worker parses the headers and passes the socket, so that the body is not copied through it. The
body is read directly from the passed socket; its content is untrusted until hashed. The descriptor
is untrusted too: its type is checked, each read is non-blocking, and no read exceeds the number of
bytes that remain.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncGenerator
from typing import Final, Protocol

from phase_boot.ports.fetcher import STALL_SECONDS, Buffer, FetchFailed, PassedBody
from phase_boot.privsep.protocol import ProtocolError, wait_readable, wait_writable
from policies.model import Reach

MAX_READ: Final = 1024 * 1024
"""Bytes of one read."""
_REMAINING: Final = struct.Struct("!Q")


class RangeResponse(Protocol):
    """An HTTP response with bytes of a requested range."""

    @property
    def is_last(self) -> bool:
        """Whether no further response follows for this range."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield its bytes."""

    def detach(self) -> PassedBody | None:
        """Release the connection; None if the body cannot be read from it as it is."""


class RangeFetcher(Protocol):
    """A fetcher whose connections can be passed."""

    def ranges(
        self, url: str, *, offset: int, length: int, reach: Reach, redirects: int = 0
    ) -> AsyncGenerator[RangeResponse, None]:
        """Yield responses with ``length`` bytes from ``offset`` on; fails as `Fetcher.span` does.

        Read or detach each response before requesting the next one.
        """


def encode_remaining(remaining: int) -> bytes:
    """Return the payload of a PASSED frame."""
    return _REMAINING.pack(remaining)


async def pass_socket(channel: socket.socket, connection: socket.socket) -> None:
    """Send the descriptor of ``connection``, after the PASSED frame.

    Raises:
        OSError: the channel is closed.
    """
    while True:
        try:
            socket.send_fds(channel, [b"\n"], [connection.fileno()])
        except BlockingIOError:
            await wait_writable(channel)
        else:
            return


class PassedConnection:
    """A connection that the worker passed, with the rest of a body."""

    def __init__(self, connection: socket.socket, remaining: int) -> None:
        self._connection = connection
        self._remaining = remaining

    async def read(self) -> bytes:
        """Return the bytes that are available, at least one; none at the end of the body.

        Raises:
            FetchFailed: the connection ends early, fails or stalls for STALL_SECONDS.
        """
        if not self._remaining:
            return b""
        piece = await _read_available(self._connection, min(self._remaining, MAX_READ))
        if not piece:
            raise FetchFailed(f"it ended {self._remaining} bytes early", retryable=True)
        self._remaining -= len(piece)
        return piece

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


async def receive_connection(channel: socket.socket, payload: Buffer) -> PassedConnection:
    """Return the connection that follows a PASSED frame with this ``payload``.

    Raises:
        ProtocolError: no socket follows.
    """
    if len(payload) != _REMAINING.size:
        raise ProtocolError("it does not say how many bytes are left")
    (remaining,) = _REMAINING.unpack(payload)
    await wait_readable(channel)
    return PassedConnection(_receive_socket(channel), remaining)


def _receive_socket(channel: socket.socket) -> socket.socket:
    """Return the passed socket; close a descriptor of any other type."""
    try:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    except OSError as error:
        raise ProtocolError(f"no connection: {error}") from error
    if not descriptors:
        raise ProtocolError("no connection")
    try:
        return socket.socket(fileno=descriptors[0])
    except OSError as error:
        os.close(descriptors[0])
        raise ProtocolError(f"no connection: {error}") from error


async def _read_available(connection: socket.socket, max_bytes: int) -> bytes:
    """Return the bytes available; wait if there are none."""
    # Yield to other tasks even while data is available without a wait.
    await asyncio.sleep(0)
    while True:
        try:
            # The worker holds the same socket and can make it blocking at any time.
            return connection.recv(max_bytes, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except OSError as error:
            raise FetchFailed(f"the connection failed: {error}", retryable=True) from error
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await wait_readable(connection)
        except TimeoutError:
            raise FetchFailed("it stopped answering", retryable=True) from None
