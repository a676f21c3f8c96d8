"""Network emulation: latency and loss between two interfaces.

`python -m image.lab.netem ONE OTHER MILLISECONDS LOSS` forwards every frame between the interfaces
ONE and OTHER, MILLISECONDS late, and drops LOSS percent of the frames. It replaces the kernel's
netem, which many kernels do not have. The random generator has a fixed seed, so the n-th frame is
dropped in every run or in none.
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

_ETH_P_ALL: Final = 0x0003
_MAX_FRAME: Final = 65536
_MAX_QUEUE: Final = 4096
"""Frames in flight; like a router, this drops frames when its queue is full."""


def forward(one: str, other: str, seconds: float, loss: float) -> None:
    """Forward frames between two interfaces until the process ends."""
    generator = random.Random(0)  # noqa: S311 - packet loss is no secret
    ends = {name: _open(name) for name in (one, other)}
    across = {ends[one]: ends[other], ends[other]: ends[one]}
    queue: deque[tuple[float, socket.socket, bytes]] = deque()
    with selectors.DefaultSelector() as selector:
        for end in across:
            selector.register(end, selectors.EVENT_READ, end)
        while True:
            wait = max(0.0, queue[0][0] - time.monotonic()) if queue else None
            for key, _ in selector.select(wait):
                frame, address = key.data.recvfrom(_MAX_FRAME)
                outgoing = address[2] == socket.PACKET_OUTGOING
                if not outgoing and len(queue) < _MAX_QUEUE and generator.random() * 100 >= loss:
                    queue.append((time.monotonic() + seconds, across[key.data], frame))
            while queue and queue[0][0] <= time.monotonic():
                _, end, frame = queue.popleft()
                with contextlib.suppress(OSError):
                    end.send(frame)


def _open(interface: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    raw.bind((interface, 0))
    return raw


if __name__ == "__main__":
    forward(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000, float(sys.argv[4]))
