"""What py-libp2p does by itself: a program that prints facts, ``python -m …libp2p_library``.

It runs in a process of its own, because the library with all its parts changes warnings, logging
and the event loop of the process that imports it.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from typing import Any

import libp2p
import trio
from libp2p.kad_dht.common import PROTOCOL_ID, QUERY_TIMEOUT
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network import swarm
from libp2p.network.config import ConnectionConfig
from libp2p.security.noise.io import NoiseTransportReadWriter
from libp2p.tools.anyio_service import background_trio_service

from phase_boot.content import varint
from phase_boot.content.protobuf import bytes_field, number_field

# Neither module has types that a checker finds.
PeerInfo: Any = import_module("libp2p.peer.peerinfo").PeerInfo
LOOPBACK: Any = import_module("multiaddr").Multiaddr("/ip4/127.0.0.1/tcp/0")
LONG_WAIT = 3.21
BINARY_KEY = b"/ipns/" + b"\x00\x24\x08\x01\x12\x20" + bytes(range(200, 232))


def offered(host: Any) -> list[str]:
    """Return the security protocols that a host accepts."""
    transports = host.get_network().upgrader.security_multistream.transports
    return sorted(str(name) for name in transports)


async def waits_in_vain(config: ConnectionConfig | None) -> bool:
    """Return whether a dial that has succeeded still waits for the head start of a first address.

    The head start is set to `LONG_WAIT`, so that a slow machine gives the same answer.
    """
    scopes: list[trio.CancelScope] = []
    plain = trio.move_on_after

    def noted(seconds: float, **named: Any) -> trio.CancelScope:
        scope = plain(seconds, **named)
        if seconds == LONG_WAIT:
            scopes.append(scope)
        return scope

    listener, dialler = libp2p.new_host(), libp2p.new_host(connection_config=config)
    async with listener.run(listen_addrs=[LOOPBACK]), dialler.run(listen_addrs=[]):
        vars(swarm)["_HAPPY_EYEBALLS_DELAY"] = LONG_WAIT
        vars(trio)["move_on_after"] = noted
        try:
            await dialler.connect(PeerInfo(listener.get_id(), listener.get_addrs()[:1]))
        finally:
            vars(trio)["move_on_after"] = plain
    assert scopes
    return any(scope.cancelled_caught for scope in scopes)


async def stale_read() -> str | None:
    """Return what a DHT of one node answers for a key that it stored before."""
    host = libp2p.new_host()
    async with host.run(listen_addrs=[LOOPBACK]):
        dht = KadDHT(host, DHTMode.SERVER)
        async with background_trio_service(dht):
            dht.value_store.put(b"/pk/key", b"stale")
            value = await dht.get_value("/pk/key")
    return None if value is None else value.decode()


async def answers_find_node(length: int) -> bool:
    """Return whether its DHT answers FIND_NODE for a key of ``length`` bytes."""
    server, client = libp2p.new_host(), libp2p.new_host()
    message = number_field(1, 4) + bytes_field(2, bytes(length))
    async with (
        server.run(listen_addrs=[LOOPBACK]),
        client.run(listen_addrs=[]),
        background_trio_service(KadDHT(server, DHTMode.SERVER)),
    ):
        await client.connect(PeerInfo(server.get_id(), server.get_addrs()[:1]))
        stream = await client.new_stream(server.get_id(), [PROTOCOL_ID])
        await stream.write(varint.encode(len(message)) + message)
        try:
            return bool(await stream.read(1))
        except Exception:  # noqa: BLE001 - what a reset stream raises has no common type
            return False


class Numbers:
    """The state of a connection, which counts the packets that it encrypts."""

    def __init__(self) -> None:
        self.used = 0

    def encrypt(self, data: bytes) -> bytes:
        self.used += 1
        return data


class BusyConnection:
    """A connection that takes nothing until its peer reads."""

    async def write(self, _data: bytes) -> None:
        await trio.sleep_forever()


async def numbers_unsent_packets() -> bool:
    """Return whether a cancelled write has used up the number of a packet that was not sent."""
    numbers: Any = Numbers()
    connection: Any = BusyConnection()
    with trio.move_on_after(0.01):
        await NoiseTransportReadWriter(connection, numbers).write_msg(b"packet")
    return bool(numbers.used)


def binary_key() -> str:
    """Return how a key of bytes ends that are no text."""
    try:
        BINARY_KEY.decode()
    except UnicodeDecodeError:
        return str(KadDHT.get_value.__annotations__["key"])
    return "it is text"


async def facts() -> dict[str, object]:
    logging.disable(logging.CRITICAL)
    return {
        "security": offered(libp2p.new_host()),
        "waits in vain": await waits_in_vain(None),
        "waits with one connection": await waits_in_vain(
            ConnectionConfig(max_connections_per_peer=1)
        ),
        "key type": binary_key(),
        "stale": await stale_read(),
        "answers 50 bytes": await answers_find_node(50),
        "answers 51 bytes": await answers_find_node(51),
        "seconds for a frozen peer": QUERY_TIMEOUT,
        "numbers unsent packets": await numbers_unsent_packets(),
        "wanted connections": ConnectionConfig().min_connections,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trio.run(facts)))
