"""Speaking to systemd: readiness, a sign of life, the state (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

SOCKET: Final = "NOTIFY_SOCKET"
WATCHDOG: Final = "WATCHDOG_USEC"
WORDS_PER_TIMEOUT: Final = 4
"""So often a sign of life is given before the watchdog would act; systemd advises two."""


class ServiceManager:
    """Implements `ports.supervisor.Supervisor` by the protocol of sd_notify(3).

    Where nobody supervises (a desktop, a test) it says nothing.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # A leading @ stands for the zero byte of an abstract address.
        self._address = environment.get(SOCKET, "").replace("@", "\0", 1)
        timeout = environment.get(WATCHDOG, "")
        self._period = int(timeout) / 1e6 / WORDS_PER_TIMEOUT if timeout.isdecimal() else None

    @property
    def period(self) -> float | None:
        """A quarter of the time after which systemd takes us for dead."""
        return self._period if self._address else None

    def ready(self) -> None:
        """Let the unit be started."""
        self._say("READY=1")

    def alive(self, doing: str) -> None:
        """Feed the watchdog."""
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
