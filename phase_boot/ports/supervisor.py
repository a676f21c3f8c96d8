"""Port of the service manager, which restarts the daemon if it hangs: systemd in the seed."""

from __future__ import annotations

from typing import Protocol


class Supervisor(Protocol):
    """Receives the daemon's notifications, as sd_notify(3). A call never fails and never waits."""

    @property
    def period(self) -> float | None:
        """Interval of the `alive` notifications in seconds; None without a watchdog."""

    def ready(self) -> None:
        """Notify that the boot has started."""

    def alive(self, doing: str) -> None:
        """Notify that the driver is not stuck, with the name of the current state."""
