"""A long way between two cables: frames arrive late, and some never.

`python -m image.lab.netem ONE OTHER MILLISECONDS LOSS`: every frame that comes in at ONE leaves by
OTHER so much later, and back; of a hundred, LOSS are lost. It stands where netem would, which many
kernels do not have. The same line loses the same frames every time, counted as they come.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import sys
import time
from collections import deque
from typing import Final

_EVERY_PROTOCOL: Final = 0x0003
_LARGEST_FRAME: Final = 65536
_QUEUED: Final = 4096
"""Frames on their way in one direction; like any router, this one drops what is too much."""


def carry(one: str, other: str, seconds: float, loss: float) -> None:
    """Relay for ever."""
    chance = random.Random(0)  # noqa: S311 - nothing secret about a bad line
    ends = {name: _open(name) for name in (one, other)}
    across = {ends[one]: ends[other], ends[other]: ends[one]}
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    with selectors.DefaultSelector() as ready:
        for end in across:
            ready.register(end, selectors.EVENT_READ, end)
        while True:
            left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            for key, _ in ready.select(left):
                frame, address = key.data.recvfrom(_LARGEST_FRAME)
                ours = address[2] == socket.PACKET_OUTGOING
                if not ours and len(waiting) < _QUEUED and chance.random() * 100 >= loss:
                    waiting.append((time.monotonic() + seconds, across[key.data], frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, end, frame = waiting.popleft()
                with contextlib.suppress(OSError):
                    end.send(frame)


def _open(name: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    wire.bind((name, 0))
    return wire


if __name__ == "__main__":
    carry(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000, float(sys.argv[4]))
