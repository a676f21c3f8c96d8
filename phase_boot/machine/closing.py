"""Giving back what a boot holds, however it ends."""

from __future__ import annotations

import asyncio
from typing import Final

from phase_boot.machine.boot import Boot
from phase_boot.machine.events import CacheHeld
from phase_boot.machine.handler import World

RELEASE_SECONDS: Final = 30
"""For a filesystem to be unmounted: a stick that was pulled out may take for ever."""


async def give_back(world: World, boot: Boot) -> None:
    """Close the images and release Cache: what cannot be given back must not stop anything else."""
    if boot.images is not None:
        boot.images.close()
    try:
        async with asyncio.timeout(RELEASE_SECONDS):
            await world.store_opener.release()
    except TimeoutError:
        world.emit(CacheHeld(reason=f"it was not released within {RELEASE_SECONDS} seconds"))
    except Exception as error:  # noqa: BLE001 - whatever it is, there is nothing to do about it
        world.emit(CacheHeld(reason=str(error)))
