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
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network import swarm
from libp2p.network.config import ConnectionConfig
from libp2p.tools.anyio_service import background_trio_service

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
        "wanted connections": ConnectionConfig().min_connections,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trio.run(facts)))
