"""A bitswap peer with a fault, in a process of its own: a host of py-libp2p on loopback.

`python -m tests.support.bitswap_peer FAULT` prints its address and serves until it is killed.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from phase_boot.content.cid import Cid, Codec
from phase_boot.libp2p_node.bitswap_message import MAX_MESSAGE, PROTOCOL, MessageReader
from tests.support.bitswap_messages import reply, wants_in

SECONDS: Final = 60
"""Bound of its start."""


class Fault(StrEnum):
    """What a peer does with each want."""

    FREEZES = "freezes"
    """It reads wants and sends nothing."""
    LACKS = "lacks"
    LIES = "lies"
    """It sends another block."""
    SENDS_TOO_MUCH = "sends-too-much"
    """It begins a message that is longer than the protocol permits."""
    LEAVES = "leaves"
    """It closes the connection at the first want."""


@contextmanager
def bitswap_peer(fault: Fault) -> Iterator[str]:
    """Run a peer until the end of the block; return its address, which ends with its id."""
    words = [sys.executable, "-m", "tests.support.bitswap_peer", fault]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=SECONDS)


def answers(fault: Fault, cid: Cid) -> list[bytes]:
    """Return what is sent for a want."""
    match fault:
        case Fault.LACKS:
            return [reply(absent=[cid])]
        case Fault.LIES:
            return [reply([(Codec.RAW, b"a lie about " + bytes(cid))])]
        case Fault.SENDS_TOO_MUCH:
            return [(MAX_MESSAGE + 1).to_bytes(4), bytes([0xFF, 0xFF, 0xFF, 0x7F])]
        case _:
            return []


def main() -> None:
    """Serve until killed."""
    import trio  # noqa: PLC0415 - tests that start this program need it not

    trio.run(_serve, Fault(sys.argv[1]))


async def _serve(fault: Fault) -> None:
    import libp2p  # noqa: PLC0415 - as above
    import trio  # noqa: PLC0415 - as above
    from libp2p.abc import INetStream  # noqa: PLC0415 - as above
    from libp2p.crypto.ed25519 import create_new_key_pair  # noqa: PLC0415 - as above
    from libp2p.custom_types import TProtocol  # noqa: PLC0415 - as above
    from multiaddr import (  # type: ignore[import-untyped] # noqa: PLC0415 - as above
        Multiaddr,
    )

    logging.disable(logging.CRITICAL)
    protocol = TProtocol(PROTOCOL)
    host = libp2p.new_host(key_pair=create_new_key_pair())

    async def handle(stream: INetStream) -> None:
        reader, peer = MessageReader(), stream.muxed_conn.peer_id
        while received := await stream.read(65536):
            for message in reader.feed(received):
                wanted, _ = wants_in(message)
                if wanted and fault is Fault.LEAVES:
                    await host.disconnect(peer)
                    return
                for cid in wanted:
                    for data in answers(fault, cid):
                        back = await host.new_stream(peer, [protocol])
                        await back.write(data)

    host.set_stream_handler(protocol, handle)
    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        (address,) = host.get_addrs()
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
        await trio.sleep_forever()


if __name__ == "__main__":
    main()
