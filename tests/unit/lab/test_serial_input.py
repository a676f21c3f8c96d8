"""Serial input to a guest that reads slowly."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from image.lab.serial_input import type_keys


def test_a_guest_that_reads_late_gets_every_key(tmp_path: Path) -> None:
    path, got = tmp_path / "console.sock", bytearray()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(1)

    def guest() -> None:
        with server:
            caller, _ = server.accept()
            # An early end of the connection would lose keys.
            with caller, suppress(ConnectionResetError):
                time.sleep(1)
                while data := caller.recv(1):
                    got.extend(data)
                    caller.sendall(b"much is said meanwhile " * 10)

    thread = threading.Thread(target=guest)
    thread.start()
    type_keys(path, "r\n")
    thread.join()
    assert got == b"r\n"
