from __future__ import annotations

import asyncio
import socket

import pytest

from phase_boot.provider.http.connections import Connections, Progress, kernel_progress
from phase_boot.provider.limits import Limits

LIMITS = Limits(connections=2, connections_per_address=2)
FLOODER, HONEST = "192.0.2.66", "192.0.2.1"


class Line(asyncio.Transport):
    """A transport whose connection is closed by a request for its socket."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self if name == "socket" else default

    def setsockopt(self, *_: object) -> None:
        """Accept any option."""

    def shutdown(self, _: int) -> None:
        self.cut = True

    def is_closing(self) -> bool:
        return self.cut


@pytest.mark.parametrize(
    ("age", "progress", "answering", "idle"),
    [
        (0.5, Progress(0, 9.0), False, False),
        (1.5, Progress(0, 9.0), False, True),
        (1.5, Progress(0, 9.0), True, False),
        (1.5, Progress(1, 9.0), False, False),
        (60.0, Progress(0, 60.0), True, False),
        (60.0, Progress(10**9, 0.1, outstanding=True), True, False),
        (60.0, Progress(10**9, 6.0, outstanding=True), True, True),
        (60.0, Progress(10**5, 0.1, outstanding=True), True, True),
        (60.0, Progress(10**9, 6.0), False, True),
    ],
)
def test_idle_connections_are_detected_and_evicted(
    age: float, progress: Progress, *, answering: bool, idle: bool
) -> None:
    first, second, third = Line(), Line(), Line()
    held = [first] if answering else []
    progresses = {first: progress}
    connections = Connections(
        LIMITS,
        answering=held,
        progress=lambda line: progresses.get(line, Progress(1, 0.0)),  # type: ignore[call-overload]
    )
    assert connections.admit(first, HONEST, 0.0)
    assert connections.admit(second, FLOODER, age)
    assert connections.admit(third, "192.0.2.2", age) is idle
    assert first.cut is idle
    assert not second.cut


class Known(Line):
    """A connection with a socket."""

    def __init__(self, ours: socket.socket) -> None:
        super().__init__()
        self._ours = ours

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._ours if name == "socket" else default


def test_tcp_info_reports_unacknowledged_bytes() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
        server.accept()[0] as ours,
    ):
        fresh = kernel_progress(Known(ours))
        assert not fresh.outstanding
        ours.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ours.sendall(bytes(64 << 20))
        full = kernel_progress(Known(ours))
        assert full.outstanding
        assert full.acknowledged > fresh.acknowledged
