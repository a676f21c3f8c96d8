"""Importing a slow library in a thread, while the boot waits for something else."""

from __future__ import annotations

import asyncio
import importlib
from types import ModuleType


class Late:
    """A library that is being imported.

    Whoever needs it waits for `ready` and imports it then, which costs nothing any more.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[ModuleType] | None = None

    async def ready(self) -> None:
        """Return once the library is imported, without blocking the event loop."""
        if self._task is None:
            importing = asyncio.to_thread(importlib.import_module, self._name)
            self._task = asyncio.create_task(importing)
        await asyncio.shield(self._task)
