"""Notifies systemd of readiness, liveness and status (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG: Final = "WATCHDOG_USEC"
WORDS_PER_TIMEOUT: Final = 4
"""Keep-alive messages per watchdog timeout; systemd recommends two."""


class ServiceManager:
    """Implements `ports.supervisor.Supervisor` by the protocol of sd_notify(3).

    Without a service manager (on a desktop, in a test) it does nothing.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # A leading @ means the NUL byte of an abstract socket address.
        self._address = environment.get(SOCKET, "").replace("@", "\0", 1)
        timeout = environment.get(WATCHDOG, "")
        self._period = int(timeout) / 1e6 / WORDS_PER_TIMEOUT if timeout.isdecimal() else None

    @property
    def period(self) -> float | None:
        """Interval of keep-alive messages in seconds; None without a watchdog."""
        return self._period if self._address else None

    def ready(self) -> None:
        """Report that the unit has started."""
        self._say("READY=1")

    def alive(self, doing: str) -> None:
        """Send a keep-alive message and the status."""
        self._say(f"WATCHDOG=1\nSTATUS={doing}")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.settimeout(0)
            channel.sendto(text.encode(), self._address)
