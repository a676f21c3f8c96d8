"""Keys pressed on a machine's serial console, one after the other as a person does."""

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
PATIENCE: Final = 60.0


class NotTaken(RuntimeError):
    """The guest does not take what is typed."""


def type_keys(console: Path, text: str) -> None:
    """Press the keys of `text` on the console socket, each when the one before was taken.

    A port takes a few bytes at a time, later where the guest is busy, and hanging up would drop
    what it has not taken. Raises NotTaken when the guest takes nothing for PATIENCE seconds.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as port:
        port.connect(str(console))
        port.settimeout(0)
        for key in text:
            port.sendall(key.encode())
            _until_taken(port, key)
            time.sleep(KEY_SECONDS)


def _until_taken(port: socket.socket, key: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while _waiting(port):
        # What the guest writes meanwhile must not pile up; it is in the console's log as well.
        with suppress(BlockingIOError):
            port.recv(65536)
        if time.monotonic() > give_up:
            raise NotTaken(f"The guest does not take the key {key!r} from its console.")
        time.sleep(0.01)


def _waiting(port: socket.socket) -> int:
    """How many bytes the other side has not read yet, as the kernel reckons memory."""
    answer = fcntl.ioctl(port, termios.TIOCOUTQ, bytes(4))
    return int(struct.unpack("i", answer)[0])
