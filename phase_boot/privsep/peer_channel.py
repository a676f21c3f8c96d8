"""Peer sharing across the privilege boundary: the worker serves peers and posts to the tracker.

The channel is a socketpair of type SOCK_SEQPACKET. Each packet to the worker begins with a request
number. A share request carries two descriptors, both read-only: the partial file, and a memfd with
the piece offsets and the bitfield of verified pieces. Replies are bounded texts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import socket
import struct
from array import array
from collections.abc import Sequence
from typing import Any, Final

from phase_boot.content.cid import Cid
from phase_boot.content.digest import Digest
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.peer_sharing import OFFSET_TYPE, PeerResponder, SharedArtifact
from phase_boot.privsep.protocol import (
    REPLY_SECONDS,
    FrameKind,
    decode_failure,
    encode_failure,
    wait_readable,
)
from policies.model import Reach

MAX_PACKET: Final = 128 * 1024
MAX_AT_ONCE: Final = 16
_HEAD: Final = struct.Struct("!IB")
_DESCRIPTORS: Final = 2


class SharedBitfield:
    """Implements `ports.peer_sharing.ShareHandle`: a bitfield in memory shared with the worker."""

    def __init__(self, mapping: mmap.mmap, start: int) -> None:
        self._mapping = mapping
        self._start = start

    def mark(self, bitfield: int) -> None:
        """Let the worker serve these pieces from now on."""
        room = len(self._mapping) - self._start
        self._mapping[self._start :] = bitfield.to_bytes(room, "little")


class PeerChannel:
    """Implements `ports.peer_sharing.PeerSharing` by the worker at the other end of ``channel``."""

    def __init__(
        self, channel: socket.socket, port: int, *, reply_seconds: float = REPLY_SECONDS
    ) -> None:
        """Take the socket, and the port on which the worker serves peers."""
        self.port = port
        self._channel = channel
        self._channel.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._reply_seconds = reply_seconds
        self._number = 0
        self._pending: dict[int, asyncio.Future[bytes]] = {}

    async def post(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """POST ``body`` to ``url`` and return the response body."""
        message = {"url": url, "body": body.decode(), "limit": limit, "reach": reach}
        reply = await self._request(message)
        if len(reply) > limit:
            raise FetchFailed(f"it is larger than {limit} bytes", retryable=False)
        return reply

    async def clear(self) -> None:
        """Stop sharing, and make the worker close every shared file."""
        await self._request({})

    async def _request(self, message: dict[str, Any]) -> bytes:
        """Send a request and return its reply."""
        self._number += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._pending[self._number] = answer
        loop.add_reader(self._channel, self._on_packet)
        number = self._number
        try:
            self._send(number, message, [])
            async with asyncio.timeout(self._reply_seconds):
                return await answer
        except TimeoutError:
            raise FetchFailed(
                "the process that talks to the network hangs", retryable=True
            ) from None
        finally:
            del self._pending[number]
            if not self._pending:
                loop.remove_reader(self._channel)

    async def share(
        self, share: SharedArtifact, file: int, piece_offsets: Sequence[int]
    ) -> SharedBitfield:
        """Share the pieces of an open file that the returned bitfield marks."""
        offsets = array(OFFSET_TYPE, piece_offsets).tobytes()
        bitfield = os.memfd_create("phase-boot-pieces")
        try:
            os.truncate(bitfield, len(offsets) + -(-(len(piece_offsets) - 1) // 8))
            mapping = mmap.mmap(bitfield, 0)
            mapping[: len(offsets)] = offsets
            message = {"digest": share.digest.hex, "root": str(share.root), "size": share.size}
            with contextlib.ExitStack() as readers:
                descriptors = [_reopen_read_only(fd, readers) for fd in (file, bitfield)]
                self._send(0, message, descriptors)
        except OSError as error:
            reason = f"it cannot be shared: {error.strerror}"
            raise FetchFailed(reason, retryable=False) from error
        finally:
            os.close(bitfield)
        return SharedBitfield(mapping, len(offsets))

    def _send(self, number: int, message: dict[str, Any], descriptors: list[int]) -> None:
        try:
            packet = _HEAD.pack(number, 0) + json.dumps(message).encode()
            socket.send_fds(self._channel, [packet], descriptors)
        except OSError as error:
            reason = f"the process that talks to the network failed: {error.strerror}"
            raise FetchFailed(reason, retryable=True) from error

    def _on_packet(self) -> None:
        """Receive one reply; ignore a packet that matches no pending request."""
        try:
            packet = self._channel.recv(MAX_PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if len(packet) < _HEAD.size:
            ended = FetchFailed("the process that talks to the network ended", retryable=True)
            for each in self._pending.values():
                if not each.done():
                    each.set_exception(ended)
            return
        number, kind = _HEAD.unpack_from(packet)
        pending = self._pending.get(number)
        if pending is None or pending.done():
            return
        text = packet[_HEAD.size :]
        if kind == FrameKind.DATA:
            pending.set_result(text)
        else:
            pending.set_exception(decode_failure(kind, text))


async def serve_peer_channel(channel: socket.socket, responder: PeerResponder) -> None:
    """Serve the packets of ``channel`` until that is closed; runs in the worker."""
    channel.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            await wait_readable(channel)
            packet, descriptors, _, _ = socket.recv_fds(channel, MAX_PACKET, _DESCRIPTORS)
            if not packet:
                return
            number, _ = _HEAD.unpack_from(packet)
            message = json.loads(packet[_HEAD.size :])
            if not number:
                digest, root = Digest(message["digest"]), Cid.parse(message["root"])
                responder.share(SharedArtifact(digest, root, message["size"]), *descriptors)
            elif not message:
                responder.clear()
                _send_reply(channel, number, FrameKind.DATA, b"")
            elif len(running) < MAX_AT_ONCE:
                task = asyncio.create_task(_forward_post(channel, number, message, responder))
                running.add(task)
                task.add_done_callback(running.discard)
    finally:
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _forward_post(
    channel: socket.socket, number: int, message: dict[str, Any], responder: PeerResponder
) -> None:
    kind, text = FrameKind.DATA, b""
    try:
        text = await responder.post(
            message["url"],
            message["body"].encode(),
            limit=message["limit"],
            reach=Reach(message["reach"]),
        )
    except FetchFailed as failure:
        kind, text = encode_failure(failure)
    _send_reply(channel, number, kind, text)


def _send_reply(channel: socket.socket, number: int, kind: FrameKind, text: bytes) -> None:
    with contextlib.suppress(OSError):
        # A main process that does not read its replies loses them.
        channel.send(_HEAD.pack(number, kind) + text)


def _reopen_read_only(fd: int, readers: contextlib.ExitStack) -> int:
    """Reopen the file of a descriptor read-only."""
    reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    readers.callback(os.close, reader)
    return reader
