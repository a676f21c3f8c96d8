"""Exchanges messages of bitswap with peers: dials them, sends wants, and reads blocks.

`bitswap_session.WantList` decides; this module performs it over a host. A peer sends its blocks on
streams that it opens itself, and reads the wants on the one that is opened to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import trio

from phase_boot.content.cid import Cid
from phase_boot.content.peer_id import PeerId
from phase_boot.libp2p_node.bitswap_message import (
    PROTOCOL,
    BadMessage,
    MessageReader,
    decode,
    encode_wants,
)
from phase_boot.libp2p_node.bitswap_session import WantList
from phase_boot.libp2p_node.bitswap_state import Outcome, Request
from phase_boot.libp2p_node.host import PeerFailed

CONNECT_SECONDS: Final = 12.0
"""Time to connect with a peer and to agree on the protocol, with all attempts."""
ATTEMPTS: Final = 3
RETRY_SECONDS: Final = 0.5
"""Pause between two attempts."""
WRITE_SECONDS: Final = 5.0
"""Time to send one message of wants."""
READ_BYTES: Final = 256 * 1024
MAX_STREAMS: Final = 128
"""Streams that one peer has open. kubo opens one for each message."""
MAX_HELD: Final = 8 * 1024 * 1024
"""Bytes of unfinished messages of one peer. kubo sends about 1 MiB at once."""
MAX_UNSENT: Final = 64
"""Messages for one peer that wait to be sent."""

Connect = Callable[[], Awaitable[None]]
"""Connects with one peer; raises `PeerFailed`."""


class Stream(Protocol):
    """A stream to a peer."""

    async def read(self, most: int) -> bytes:
        """Return 1 to ``most`` bytes, or none at the end; raise PeerFailed."""

    async def write(self, data: bytes) -> None:
        """Send ``data``; raise PeerFailed."""

    async def close(self) -> None:
        """End the stream."""


class Host(Protocol):
    """The part of `host.Node` that is needed."""

    async def open_stream(self, peer: PeerId, protocols: Sequence[str]) -> Stream:
        """Open a stream to a connected peer; raise PeerFailed."""

    def handle(self, protocol: str, handler: Callable[[PeerId, Stream], Awaitable[None]]) -> None:
        """Call ``handler`` for each stream that a peer opens."""

    async def disconnect(self, peer: PeerId) -> None:
        """End the connection with a peer."""


class Exchange:
    """Requests blocks from peers, many at the same time."""

    def __init__(self, host: Host) -> None:
        """Take the host that has the streams."""
        self._host = host
        self._wants = WantList()
        self._outboxes: dict[str, trio.MemorySendChannel[bytes]] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._arrived: dict[int, trio.Event] = {}
        self._streams: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        """Bytes of unfinished messages, by peer."""
        self._changed = trio.Event()
        self._to_dial: list[tuple[str, Connect]] = []
        self._next_key = 0

    async def run(self) -> None:
        """Serve `block` until cancelled."""
        self._host.handle(PROTOCOL, self._read)
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                for name, connect in self._to_dial:
                    nursery.start_soon(self._keep_peer, name, connect)
                self._to_dial.clear()
                self._step()
                deadline = self._wants.next_deadline()
                with trio.move_on_at(float("inf") if deadline is None else deadline):
                    await self._changed.wait()

    async def block(
        self, cid: Cid, *, limit: int, peers: Mapping[PeerId, Connect], seconds: float
    ) -> Outcome:
        """Return a block of at most ``limit`` bytes, or the reason why no peer sent it in time.

        ``peers`` are those that may have it, each with how it is connected with.
        """
        key, now = self._next_key, trio.current_time()
        self._next_key += 1
        named = {str(peer): connect for peer, connect in peers.items()}
        request = Request(key=key, cid=cid, limit=limit, peers=tuple(named), until=now + seconds)
        try:
            dial = self._wants.request(request, now)
        except ValueError as error:
            return Outcome(key, reason=str(error))
        self._to_dial += [(name, named[name]) for name in dial]
        arrived = self._arrived[key] = trio.Event()
        self._changed.set()
        try:
            await arrived.wait()
            return self._outcomes[key]
        finally:
            self._wants.cancel(key)
            self._outcomes.pop(key, None)
            del self._arrived[key]
            self._changed.set()

    def _step(self) -> None:
        now = trio.current_time()
        self._deliver(self._wants.expire(now))
        for name, update in self._wants.updates(now):
            try:
                self._outboxes[name].send_nowait(encode_wants(update.wanted, update.cancelled))
            except (KeyError, trio.WouldBlock, trio.BrokenResourceError):
                self._wants.lost(name, "it takes no requests", now)
                self._changed.set()

    def _deliver(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.key in self._arrived:
                self._outcomes[outcome.key] = outcome
                self._arrived[outcome.key].set()

    async def _keep_peer(self, name: str, connect: Connect) -> None:
        """Connect with a peer, and send it what it is to be told, until it is gone."""
        reason = "it left"
        try:
            await self._talk(PeerId.parse(name), name, connect)
        except PeerFailed as failure:
            reason = str(failure)
        except trio.TooSlowError:
            reason = "it did not answer in time"
        finally:
            self._outboxes.pop(name, None)
            self._wants.lost(name, f"{name}: {reason}", trio.current_time())
            self._changed.set()

    async def _talk(self, peer: PeerId, name: str, connect: Connect) -> None:
        with trio.fail_after(CONNECT_SECONDS):
            stream = await self._open(peer, connect)
        sender, outbox = trio.open_memory_channel[bytes](MAX_UNSENT)
        self._outboxes[name] = sender
        self._wants.connected(name, trio.current_time())
        self._changed.set()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_all, stream, outbox)
                # Nothing is sent on this stream: it ends with the connection.
                with suppress(PeerFailed):
                    while name not in self._wants.liars and await stream.read(1):
                        pass
                nursery.cancel_scope.cancel()
        except* PeerFailed as failures:
            raise PeerFailed(str(failures.exceptions[0])) from failures
        finally:
            await stream.close()

    async def _open(self, peer: PeerId, connect: Connect) -> Stream:
        for _ in range(ATTEMPTS - 1):
            with suppress(PeerFailed):
                await connect()
                return await self._host.open_stream(peer, [PROTOCOL])
            await trio.sleep(RETRY_SECONDS)
        await connect()
        return await self._host.open_stream(peer, [PROTOCOL])

    async def _write_all(self, stream: Stream, outbox: trio.MemoryReceiveChannel[bytes]) -> None:
        async for message in outbox:
            with trio.move_on_after(WRITE_SECONDS) as limit:
                await stream.write(message)
            if limit.cancelled_caught:
                raise PeerFailed("it takes no requests")

    async def _read(self, peer: PeerId, stream: Stream) -> None:
        """Read the messages of one stream that a peer opened."""
        name = str(peer)
        if name not in self._outboxes or self._streams[name] >= MAX_STREAMS:
            await stream.close()
            return
        self._streams[name] += 1
        reader = MessageReader()
        try:
            while name not in self._wants.liars and (received := await stream.read(READ_BYTES)):
                self._held[name] -= reader.held
                found = reader.feed(received)
                self._held[name] += reader.held
                for message in found:
                    now = trio.current_time()
                    self._deliver(self._wants.receive(name, decode(message), now))
                    self._changed.set()
                self._check_held(name)
        except BadMessage as error:
            self._wants.lied(name, f"{name} sent {error}", trio.current_time())
            self._changed.set()
        finally:
            self._held[name] -= reader.held
            self._streams[name] -= 1
            await stream.close()
        if name in self._wants.liars:
            await self._host.disconnect(peer)

    def _check_held(self, name: str) -> None:
        if self._held[name] > MAX_HELD:
            raise BadMessage(f"more than {MAX_HELD} bytes at once")
