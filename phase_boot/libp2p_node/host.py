"""A libp2p host that dials peers by TCP and listens nowhere: the only user of py-libp2p.

The library's host makes the secure channel (noise), the streams (yamux) and their negotiation
(multistream-select). Dialling is done here: the library's own dial takes one address of each peer
and always waits 250 ms for a second one, and addresses that peers report about themselves would be
dialled without a check. `swarm` therefore has a transport that dials nothing.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final

import libp2p
import trio
from libp2p.abc import IHost, IListener, INetStream, IRawConnection, ITransport
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import THandler, TProtocol
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.io.trio import TrioTCPStream
from libp2p.network.config import ConnectionConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux

from phase_boot.content.peer_id import PeerId

CLOSE_SECONDS: Final = 0.2
"""Time to tell a peer that a stream or a connection ends."""
PACKET_SECONDS: Final = 5.0
"""Time to send the packet that is being sent when a write is cancelled."""
NEGOTIATE_SECONDS: Final = 5
"""Time to agree on a protocol with a peer."""
MAX_REASON: Final = 120
"""Characters of the text of a failure."""


class PeerFailed(Exception):
    """A peer cannot be reached, or a stream to it failed; the text says how."""


@contextmanager
def _library_errors() -> Generator[None, None, None]:
    """Turn every exception of the library into PeerFailed: hostile input decides which it raises.

    Cancellation is no Exception and passes.
    """
    try:
        yield
    except PeerFailed:
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        raise PeerFailed(text[:MAX_REASON]) from error


@contextmanager
def _closing() -> Generator[None, None, None]:
    """Let what tells a peer about an end finish, also after cancellation, but not for long."""
    with trio.move_on_after(CLOSE_SECONDS) as scope, suppress(PeerFailed), _library_errors():
        scope.shield = True
        yield


class WholePackets(TrioTCPStream):
    """A connection that sends each packet whole, also if the write is cancelled meanwhile.

    A packet of noise is numbered as it is encrypted, before it is written. If it were not sent, the
    peer could decrypt none of those that follow, and would end the connection.
    """

    async def write(self, data: bytes) -> None:
        """Send ``data``, one packet.

        Raises:
            ConnectionClosedError: the connection ended, or the peer did not take the packet in
                `PACKET_SECONDS`, which ends it.
        """
        with trio.move_on_after(PACKET_SECONDS) as scope:
            scope.shield = True
            await super().write(data)
        if scope.cancelled_caught:
            await trio.aclose_forcefully(self.stream)
            raise ConnectionClosedError("it takes no data")


class Stream:
    """A stream to a peer, after both sides have agreed on a protocol."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream

    @property
    def protocol(self) -> str:
        """The protocol of the stream."""
        return str(self._stream.get_protocol() or "")

    async def read(self, most: int) -> bytes:
        """Return 1 to ``most`` bytes, or none at the end of the stream.

        Raises:
            PeerFailed: the connection ended.
        """
        with _library_errors():
            return await self._stream.read(most)

    async def write(self, data: bytes) -> None:
        """Send ``data``; raise PeerFailed if the connection ended."""
        with _library_errors():
            await self._stream.write(data)

    async def close(self) -> None:
        """End the stream in both directions."""
        with _closing():
            await self._stream.reset()


class Node:
    """A running host."""

    def __init__(self, host: IHost, background: trio.Nursery) -> None:
        self._host = host
        self.background = background
        """For tasks that last as long as the host."""
        # The module of the library's ids is in a folder without `__init__`.
        self._id_type = type(host.get_id())

    @property
    def peer(self) -> PeerId:
        """The id of this host, which is new in each run."""
        return PeerId(self._host.get_id().to_bytes())

    async def connect(self, peer: PeerId, host: str, port: int) -> None:
        """Connect to ``peer`` at an IP address, unless it is connected.

        Returns when the peer has proven that it is ``peer``.

        Raises:
            PeerFailed: no connection, another peer, or no common security protocol.
        """
        if self.is_connected(peer):
            return
        with _library_errors():
            stream = trio.SocketStream(await _connected(host, port))
            try:
                raw = RawConnection(WholePackets(stream), initiator=True)
                await self._host.upgrade_outbound_connection(raw, self._library_id(peer))
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise

    def is_connected(self, peer: PeerId) -> bool:
        """Return whether there is a connection to ``peer``."""
        connections = self._host.get_network().get_connections(self._library_id(peer))
        return any(not connection.is_closed for connection in connections)

    async def disconnect(self, peer: PeerId) -> None:
        """End the connection to ``peer``."""
        with _closing():
            await self._host.disconnect(self._library_id(peer))

    async def open_stream(self, peer: PeerId, protocols: Sequence[str]) -> Stream:
        """Open a stream to a connected peer with the first of ``protocols`` that it has.

        Raises:
            PeerFailed: it is not connected, or has none of them.
        """
        if not self.is_connected(peer):
            raise PeerFailed("it is not connected")
        names = [TProtocol(name) for name in protocols]
        with _library_errors():
            return Stream(await self._host.new_stream(self._library_id(peer), names))

    def handle(self, protocol: str, handler: Callable[[PeerId, Stream], Awaitable[None]]) -> None:
        """Call ``handler`` for each stream of ``protocol`` that a connected peer opens."""

        async def handle(stream: INetStream) -> None:
            peer = PeerId(stream.muxed_conn.peer_id.to_bytes())
            try:
                await handler(peer, Stream(stream))
            except PeerFailed:
                await Stream(stream).close()

        self._host.set_stream_handler(TProtocol(protocol), handle)

    def _library_id(self, peer: PeerId) -> Any:  # noqa: ANN401 - see `_id_type`
        return self._id_type(peer.multihash)


@asynccontextmanager
async def running_node() -> AsyncGenerator[Node, None]:
    """Run a host with a new identity until the end of the block."""
    logging.disable(logging.CRITICAL)
    keys = create_new_key_pair()
    noise = NoiseTransport(keys, noise_privkey=create_noise_key_pair().private_key)
    host = libp2p.new_host(
        key_pair=keys,
        # The library's own choice would accept peers without encryption.
        sec_opt={NOISE: noise},
        muxer_opt={TProtocol(YAMUX): Yamux},
        negotiate_timeout=NEGOTIATE_SECONDS,
        connection_config=ConnectionConfig(
            max_connections_per_peer=1,
            min_connections=0,
            low_watermark=0,
            outbound_stream_protocol_negotiation_timeout=NEGOTIATE_SECONDS,
        ),
        transports=[_DialsNothing()],
    )
    async with host.run(listen_addrs=[]), trio.open_nursery() as background:
        yield Node(host, background)
        background.cancel_scope.cancel()


async def _connected(host: str, port: int) -> trio.socket.SocketType:
    """Return a TCP connection to an IP address; raise OSError if there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return connection


class _DialsNothing(ITransport):
    """The transport of a host that must not connect anywhere by itself."""

    async def dial(self, maddr: object) -> IRawConnection:
        """Refuse."""
        raise OSError(f"{maddr} is not dialled")

    def create_listener(self, handler_function: THandler) -> IListener:
        """Refuse."""
        raise NotImplementedError

    def can_dial(self, maddr: object) -> bool:  # noqa: ARG002 - the library's interface
        """Return that it does not."""
        return False

    def can_listen(self, maddr: object) -> bool:  # noqa: ARG002 - the library's interface
        """Return that it does not."""
        return False

    def protocols(self) -> list[str]:
        """Return that it has none."""
        return []
