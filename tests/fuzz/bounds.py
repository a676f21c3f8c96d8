"""How much one case may take: a reader that hangs or swells is broken, refuse as it may."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Final

CPU_SECONDS: Final = 0.05
"""Of this process alone, so that a busy machine slows no case down."""
MEMORY_MIB: Final = 64
"""That one case may add to the largest size this process ever had."""
_AGAIN: Final = 3
"""Times that a slow case is measured again; the fastest counts."""


class TookTooMuch(Exception):
    """A case is over one of the bounds."""


def bounded(one: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return ``one``, failing for cases that take too long or too much memory."""

    def run(data: bytes) -> None:
        before = peak_mib()
        seconds = _measured(one, data)
        if seconds > CPU_SECONDS:
            seconds = min(_measured(one, data) for _ in range(_AGAIN))
        if seconds > CPU_SECONDS:
            raise TookTooMuch(f"{seconds * 1000:.0f} ms of CPU for {len(data)} bytes")
        if peak_mib() - before > MEMORY_MIB:
            raise TookTooMuch(f"{peak_mib() - before:.0f} MiB for {len(data)} bytes")

    return run


def peak_mib() -> float:
    """Return the largest size that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measured(one: Callable[[bytes], None], data: bytes) -> float:
    started = time.process_time()
    one(data)
    return time.process_time() - started
