"""Giving back what a boot holds, however it ends."""

from __future__ import annotations

import asyncio
from typing import Final

from phase_boot.journal.content_events import CacheReleaseFailed
from phase_boot.machine.boot import BootContext
from phase_boot.machine.handler import Ports

RELEASE_SECONDS: Final = 30
"""For a filesystem to be unmounted: a stick that was pulled out may take for ever."""


async def release(ports: Ports, boot: BootContext) -> None:
    """Close the images and release Cache: what cannot be given back must not stop anything else."""
    if boot.images is not None:
        boot.images.close()
    try:
        async with asyncio.timeout(RELEASE_SECONDS):
            await ports.store_opener.release()
    except TimeoutError:
        ports.emit(
            CacheReleaseFailed(reason=f"it was not released within {RELEASE_SECONDS} seconds")
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, there is nothing to do about it
        ports.emit(CacheReleaseFailed(reason=str(error)))
