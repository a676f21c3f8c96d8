"""Importing a slow library in a thread, while the boot waits for something else."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable


class LazyImport:
    """A library that is being imported.

    Whoever needs it waits for `ready` and imports it then, which costs nothing any more.
    """

    def __init__(self, name: str, load: Callable[[str], object] = importlib.import_module) -> None:
        """Import ``name``, by ``load`` where the library needs more than an import."""
        self._name = name
        self._load = load
        self._task: asyncio.Task[object] | None = None

    async def ready(self) -> None:
        """Return once the library is imported, without blocking the event loop."""
        if self._task is None:
            importing = asyncio.to_thread(self._load, self._name)
            self._task = asyncio.create_task(importing)
        await asyncio.shield(self._task)
