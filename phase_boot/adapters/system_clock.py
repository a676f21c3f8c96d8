"""The clock of the operating system."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """Implements `ports.clock.Clock` on CLOCK_BOOTTIME and CLOCK_REALTIME."""

    def monotonic(self) -> float:
        """Return seconds since the kernel started."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> datetime:
        """Return what CLOCK_REALTIME says, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run for ``seconds``."""
        await asyncio.sleep(seconds)
