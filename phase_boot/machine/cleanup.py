"""Releases the files and mounts of a boot, on every way out."""

from __future__ import annotations

import asyncio
from typing import Final

from phase_boot.journal.content_events import CacheReleaseFailed
from phase_boot.machine.boot import BootContext
from phase_boot.machine.handler import Ports

RELEASE_SECONDS: Final = 30
"""Time limit of unmounting, which can hang on a stick that was pulled out."""


async def release(ports: Ports, boot: BootContext) -> None:
    """Close the images and release Cache; a failure is reported and changes nothing else."""
    if boot.images is not None:
        boot.images.close()
    try:
        async with asyncio.timeout(RELEASE_SECONDS):
            await ports.store_opener.release()
    except TimeoutError:
        ports.emit(
            CacheReleaseFailed(reason=f"it was not released within {RELEASE_SECONDS} seconds")
        )
    except Exception as error:  # noqa: BLE001 - a cleanup must not fail the way out
        ports.emit(CacheReleaseFailed(reason=str(error)))
