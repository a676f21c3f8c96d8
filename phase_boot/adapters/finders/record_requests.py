"""Requests for IPNS records that run at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, Self

from phase_boot.ports.finder import Ignored
from phase_boot.trust.ipns_record import IpnsRecord


class RecordRequests:
    """Requests that run at the same time, and their answers in the order of arrival."""

    def __init__(self) -> None:
        self.found = False
        """Whether any answer so far is a record."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: asyncio.Task[None] | None = None
        self._answers = asyncio.Queue[tuple[str, IpnsRecord | Ignored] | None]()

    def start(self, asking: Coroutine[Any, Any, IpnsRecord | Ignored | None], url: str) -> None:
        """Send a request."""
        task = asyncio.create_task(self._answer(asking, url), name=url)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def last(self, task: asyncio.Task[None]) -> None:
        """Let the answers end after ``task``, which starts the requests."""
        self._last = task
        task.add_done_callback(lambda _: self._answers.put_nowait(None))

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for the requests that are running, for ``seconds`` at most."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def answers(self) -> AsyncGenerator[tuple[str, IpnsRecord | Ignored], None]:
        """Yield each answer with its URL; raise what the last task raised."""
        while (answer := await self._answers.get()) is not None:
            yield answer
        if self._last is not None:
            self._last.result()

    async def _answer(
        self, asking: Coroutine[Any, Any, IpnsRecord | Ignored | None], url: str
    ) -> None:
        if (answer := await asking) is not None:
            self.found |= isinstance(answer, IpnsRecord)
            self._answers.put_nowait((url, answer))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = {*self._tasks, *(() if self._last is None else (self._last,))}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
