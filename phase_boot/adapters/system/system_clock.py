"""Reads and sets the system clock."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import time
from datetime import UTC, datetime
from typing import Final

from phase_boot.ports.clock import ClockNotSet

READ_BACK_SECONDS: Final = 2.0
"""Largest accepted difference between the time that was set and the time read back."""
_STATUS: Final = struct.Struct("=40xi")
"""`status` of struct timex (linux/timex.h) on 64-bit machines."""
_TIMEX_BYTES: Final = 256
"""More than the size of struct timex; with `modes` = 0 the call only reads."""
_STA_UNSYNC: Final = 0x40
"""Flag; while set, the kernel does not copy the system clock to the hardware clock."""


class SystemClock:
    """Implements `ports.clock.Clock` on CLOCK_BOOTTIME and CLOCK_REALTIME.

    Only the seed sets the clock; elsewhere ``settable`` is false.
    """

    def __init__(self, *, settable: bool = False) -> None:
        self._settable = settable

    def monotonic(self) -> float:
        """Return seconds since the kernel started."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> datetime:
        """Return CLOCK_REALTIME in UTC."""
        return datetime.now(UTC)

    def set_wall(self, to: datetime) -> None:
        """Set CLOCK_REALTIME, and read it back.

        The kernel copies it to the hardware clock only while a time service keeps it synchronised
        (the "11 minute mode"). Setting it ends that mode, which is checked as well.

        Raises:
            ClockNotSet: this is not the seed, the kernel refuses, or the time read back differs.
        """
        if not self._settable:
            raise ClockNotSet("only a stick sets the clock of its machine")
        try:
            time.clock_settime(time.CLOCK_REALTIME, to.timestamp())
            unsynchronised = _adjustment_status() & _STA_UNSYNC
        except (OSError, OverflowError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ClockNotSet(f"the kernel refuses: {reason}") from error
        found = self.wall()
        if abs((found - to).total_seconds()) > READ_BACK_SECONDS:
            raise ClockNotSet(f"it says {found:%Y-%m-%dT%H:%M:%SZ} after it was set")
        if not unsynchronised:
            raise ClockNotSet("the kernel would copy it to the hardware clock")

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for ``seconds``."""
        await asyncio.sleep(seconds)


def _adjustment_status() -> int:
    """Return the status of the kernel's clock adjustment, by an adjtimex(2) that only reads.

    Raises:
        OSError: the call fails.
    """
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    (status,) = _STATUS.unpack_from(timex.raw)
    return int(status)
