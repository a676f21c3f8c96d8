"""How the process that reads the network serves others who fetch, and speaks to a provider for us.

It has a socket of its own for that, which carries packets. Those to it begin with the number of a
request, and one that hands something on brings two descriptors: the file, and memory in which is
marked what of it may be read. Its answers are bounded texts; nothing else comes back.
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
from phase_boot.outside.wire import Kind, as_failure, as_frame, readable
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.ports.neighbours import CUT, Hand, Share
from policies.model import Reach

PATIENCE_SECONDS: Final = 60.0
MAX_PACKET: Final = 128 * 1024
MAX_AT_ONCE: Final = 16
_HEAD: Final = struct.Struct("!IB")
_DESCRIPTORS: Final = 2


class _Memory:
    """Implements `ports.neighbours.Shared`: whoever has the memory sees the marks at once."""

    def __init__(self, memory: mmap.mmap, start: int) -> None:
        self._memory = memory
        self._start = start

    def mark(self, held: int) -> None:
        """Hand on these stretches from now on."""
        room = len(self._memory) - self._start
        self._memory[self._start :] = held.to_bytes(room, "little")


class OutsideNeighbours:
    """Implements `ports.neighbours.Neighbours` by the process at the other end of ``channel``."""

    def __init__(
        self, channel: socket.socket, port: int, *, patience: float = PATIENCE_SECONDS
    ) -> None:
        """Take the socket, and the port at which that process answers others."""
        self.port = port
        self._channel = channel
        self._channel.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._patience = patience
        self._number = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    async def tell(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """Send ``body`` there and return the answer."""
        said = {"url": url, "body": body.decode(), "limit": limit, "reach": reach}
        found = await self._asked(said)
        if len(found) > limit:
            raise FetchFailed(f"it is larger than {limit} bytes", retryable=False)
        return found

    async def clear(self) -> None:
        """Hand on nothing any more of what was shared, and hold no file of it open."""
        await self._asked({})

    async def _asked(self, said: dict[str, Any]) -> bytes:
        """Return the answer to a packet that wants one."""
        self._number += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[self._number] = answer
        loop.add_reader(self._channel, self._hear)
        number = self._number
        try:
            self._send(number, said, [])
            async with asyncio.timeout(self._patience):
                return await answer
        except TimeoutError:
            raise FetchFailed(
                "the process that talks to the network hangs", retryable=True
            ) from None
        finally:
            del self._waiting[number]
            if not self._waiting:
                loop.remove_reader(self._channel)

    async def share(self, share: Share, file: int, cuts: Sequence[int]) -> _Memory:
        """Hand on an artifact out of an open file, as soon as some of it is marked."""
        table = array(CUT, cuts).tobytes()
        marks = os.memfd_create("phase-boot-held")
        try:
            os.truncate(marks, len(table) + -(-(len(cuts) - 1) // 8))
            memory = mmap.mmap(marks, 0)
            memory[: len(table)] = table
            said = {"digest": share.digest.hex, "root": str(share.root), "size": share.size}
            with contextlib.ExitStack() as readers:
                given = [_for_reading(fd, readers) for fd in (file, marks)]
                self._send(0, said, given)
        except OSError as error:
            reason = f"it cannot be handed on: {error.strerror}"
            raise FetchFailed(reason, retryable=False) from error
        finally:
            os.close(marks)
        return _Memory(memory, len(table))

    def _send(self, number: int, said: dict[str, Any], descriptors: list[int]) -> None:
        try:
            packet = _HEAD.pack(number, 0) + json.dumps(said).encode()
            socket.send_fds(self._channel, [packet], descriptors)
        except OSError as error:
            reason = f"the process that talks to the network failed: {error.strerror}"
            raise FetchFailed(reason, retryable=True) from error

    def _hear(self) -> None:
        """Take what that process answered; whatever is no answer counts for nothing."""
        try:
            packet = self._channel.recv(MAX_PACKET)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if len(packet) < _HEAD.size:
            gone = FetchFailed("the process that talks to the network ended", retryable=True)
            for each in self._waiting.values():
                if not each.done():
                    each.set_exception(gone)
            return
        number, kind = _HEAD.unpack_from(packet)
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return
        text = packet[_HEAD.size :]
        if kind == Kind.DATA:
            waiting.set_result(text)
        else:
            waiting.set_exception(as_failure(kind, text))


async def lend(channel: socket.socket, hand: Hand) -> None:
    """Do what comes over ``channel``, until that is closed: what the other process runs."""
    channel.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            await readable(channel)
            packet, descriptors, _, _ = socket.recv_fds(channel, MAX_PACKET, _DESCRIPTORS)
            if not packet:
                return
            number, _ = _HEAD.unpack_from(packet)
            said = json.loads(packet[_HEAD.size :])
            if not number:
                digest, root = Digest(said["digest"]), Cid.parse(said["root"])
                hand.share(Share(digest, root, said["size"]), *descriptors)
            elif not said:
                hand.clear()
                _answer(channel, number, Kind.DATA, b"")
            elif len(running) < MAX_AT_ONCE:
                task = asyncio.create_task(_tell(channel, number, said, hand))
                running.add(task)
                task.add_done_callback(running.discard)
    finally:
        for task in tuple(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _tell(channel: socket.socket, number: int, said: dict[str, Any], hand: Hand) -> None:
    kind, text = Kind.DATA, b""
    try:
        text = await hand.tell(
            said["url"], said["body"].encode(), limit=said["limit"], reach=Reach(said["reach"])
        )
    except FetchFailed as failure:
        kind, text = as_frame(failure)
    _answer(channel, number, kind, text)


def _answer(channel: socket.socket, number: int, kind: Kind, text: bytes) -> None:
    with contextlib.suppress(OSError):
        # Whoever does not read its answers has none.
        channel.send(_HEAD.pack(number, kind) + text)


def _for_reading(fd: int, readers: contextlib.ExitStack) -> int:
    """Open once more, for reading only, what a descriptor leads to."""
    reader = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    readers.callback(os.close, reader)
    return reader
