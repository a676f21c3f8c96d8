"""Writing events as JSON lines to the console and to the host of a virtual machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from phase_boot.adapters.system.sinks import DeviceSink
from phase_boot.journal.event import Event
from phase_boot.journal.record import Record

CONSOLE: Final = Path("/dev/console")
PORTS: Final = "sys/class/virtio-ports"
PORT: Final = "org.phase_boot.events"
DRAIN_SECONDS: Final = 10.0
"""Longest wait for a slow device before the process exits."""
PAUSE_SECONDS: Final = 0.1


class EventWriter:
    """Writes events to devices; drops a device that fails."""

    def __init__(self, devices: Sequence[DeviceSink], now: Callable[[], float]) -> None:
        self._devices = list(devices)
        self._now = now
        self._seq = 0

    def emit(self, event: Event) -> None:
        """Write ``event``."""
        record = Record(event=event, seq=self._seq, at=self._now())
        self._seq += 1
        self._for_each(lambda device: device.write(record))

    def drain(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait up to `DRAIN_SECONDS` for slow devices and devices that another process holds."""
        give_up = self._now() + DRAIN_SECONDS
        while any(device.waiting for device in self._devices) and self._now() < give_up:
            sleep(PAUSE_SECONDS)
            self._for_each(lambda device: device.flush())

    def _for_each(self, act: Callable[[DeviceSink], None]) -> None:
        for device in list(self._devices):
            try:
                act(device)
            except OSError:
                self._devices.remove(device)


def devices(root: Path = Path("/")) -> list[DeviceSink]:
    """Return the console, and the virtio port to the host if there is one."""
    found = [CONSOLE]
    for name in sorted((root / PORTS).glob("*/name")):
        try:
            text = name.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if text == PORT:
            found.append(Path("/dev") / name.parent.name)
    return [DeviceSink(path) for path in found]
