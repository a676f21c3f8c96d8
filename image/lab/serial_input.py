"""Type on a machine's serial console at a person's pace."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

KEY_SECONDS: Final = 0.1
"""The pause after each key."""
BLOCKED_SECONDS: Final = 60.0


class InputBlocked(RuntimeError):
    """The guest does not read its serial console."""


def type_keys(console: Path, text: str) -> None:
    """Send `text` to the console socket, each key after the guest has read the one before.

    A serial port buffers a few bytes, a busy guest reads them late, and a closed connection would
    lose what is still buffered.

    Raises:
        InputBlocked: the guest reads nothing for BLOCKED_SECONDS.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as port:
        port.connect(str(console))
        port.settimeout(0)
        for key in text:
            port.sendall(key.encode())
            _wait_until_read(port, key)
            time.sleep(KEY_SECONDS)


def _wait_until_read(port: socket.socket, key: str) -> None:
    deadline = time.monotonic() + BLOCKED_SECONDS
    while _unread_bytes(port):
        # Drain the guest's output, or it would block; the console's log has it as well.
        with suppress(BlockingIOError):
            port.recv(65536)
        if time.monotonic() > deadline:
            raise InputBlocked(f"The guest does not read the key {key!r} from its console.")
        time.sleep(0.01)


def _unread_bytes(port: socket.socket) -> int:
    """Return how much memory the bytes take that the peer has not read yet."""
    answer = fcntl.ioctl(port, termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])
