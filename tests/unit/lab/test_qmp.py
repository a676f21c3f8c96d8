"""QMP when QEMU ends: every case is a QmpError."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from image.lab.qmp import Qmp, QmpError

GREETING = b'{"QMP": {}}\n'


def ends(path: Path, greeting: bytes | None) -> threading.Thread:
    """Listen at `path` as QEMU does, and end after `greeting`; None ends before a connection."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(1)

    def end() -> None:
        with server:
            if greeting is None:
                time.sleep(0.2)
                return
            caller, _ = server.accept()
            with caller:
                caller.sendall(greeting)

    thread = threading.Thread(target=end)
    thread.start()
    return thread


@pytest.mark.parametrize("greeting", [None, b"", GREETING], ids=["unheard", "no-word", "greeting"])
def test_the_end_of_qemu_during_a_command_is_a_qmp_error(
    greeting: bytes | None, tmp_path: Path
) -> None:
    server = ends(tmp_path / "qmp.sock", greeting)
    with pytest.raises(QmpError):
        Qmp(tmp_path / "qmp.sock")
    server.join()


def test_a_missing_qemu_is_a_qmp_error(tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="does not answer"):
        Qmp(tmp_path / "none.sock")
