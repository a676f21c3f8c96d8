"""Imports a slow library in a thread, while the boot waits for the network."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable


class LazyImport:
    """A library that a thread imports.

    A user awaits `ready` before its own import statement, which is then instant.
    """

    def __init__(self, name: str, load: Callable[[str], object] = importlib.import_module) -> None:
        """Prepare the import of ``name`` with ``load``."""
        self._name = name
        self._load = load
        self._task: asyncio.Task[object] | None = None

    async def ready(self) -> None:
        """Wait until the library is imported, without blocking the event loop."""
        if self._task is None:
            importing = asyncio.to_thread(self._load, self._name)
            self._task = asyncio.create_task(importing)
        await asyncio.shield(self._task)
