"""Packets of the secure channel while the writes of its streams are cancelled."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from libp2p.io.exceptions import ConnectionClosedError

from phase_boot.libp2p_node.host import PACKET_SECONDS, WholePackets

PACKET = b"a packet that is encrypted and so has its number"


class SlowSocket:
    """A socket that takes one byte per ``pause``, in seconds."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.taken = b""
        self.closed = False

    async def send_all(self, data: bytes) -> None:
        for position in range(len(data)):
            await trio.sleep(self.pause)
            self.taken += data[position : position + 1]

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


def packets(socket: Any) -> WholePackets:
    return WholePackets(socket)


def run(test: Any) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("limit", [0.0, 0.01, 0.3])
def test_a_packet_is_sent_whole_though_its_write_is_cancelled(limit: float) -> None:
    socket = SlowSocket(0.05)

    async def write() -> None:
        connection = packets(socket)
        with trio.move_on_after(limit):
            await connection.write(PACKET)
        await connection.write(PACKET)

    run(write)
    assert socket.taken == PACKET + PACKET
    assert not socket.closed


def test_a_peer_that_takes_no_packet_loses_its_connection() -> None:
    socket = SlowSocket(2 * PACKET_SECONDS)

    async def write() -> None:
        with pytest.raises(ConnectionClosedError, match="it takes no data"):
            await packets(socket).write(PACKET)

    run(write)
    assert socket.closed
    assert socket.taken == b""
