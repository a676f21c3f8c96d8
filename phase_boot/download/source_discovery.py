"""Who turns up on this network while artifacts are being fetched, and may have them too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Final, TypeAlias

from phase_boot.ports.finder import Candidate, host_of

MOST: Final = 8
"""So many are taken in; whoever comes later is found again if none of them delivers."""
Look: TypeAlias = Callable[[], AsyncGenerator[tuple[str, Candidate], None]]
"""Yields base URLs of the mirror layout, each with the announcement that named it."""


async def nobody() -> AsyncGenerator[tuple[str, Candidate], None]:
    """Look for nobody."""
    for found in list[tuple[str, Candidate]]():
        yield found


class Company:
    """Base URLs of whoever comes while others are being fetched from; nobody in it is believed.

    Nobody is looked for before somebody asks who came, so what is in the store costs no packet.
    """

    def __init__(self, look: Look = nobody, *, known: Iterable[str] = (), who: str = "") -> None:
        """Take how to look, and who is asked already: by URLs, and by the name announced."""
        self._look = look
        self._hosts = {host_of(url) for url in known}
        self._names = {who} - {""}
        self._came: list[str] = []
        self._news = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def newcomers(self) -> AsyncGenerator[str, None]:
        """Yield all who came and who come; it never ends by itself."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._take_in())
        number = 0
        while True:
            self._news.clear()
            for base in self._came[number:]:
                number += 1
                yield base
            if number == len(self._came):
                await self._news.wait()

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _take_in(self) -> None:
        async with aclosing(self._look()) as found:
            async for base, candidate in found:
                self._join(base, candidate.who)
                if len(self._came) == MOST:
                    return

    def _join(self, base: str, who: str) -> None:
        """Take one in, unless it is here under another address of its own."""
        host = host_of(base)
        if host in self._hosts or who in self._names:
            return
        self._hosts.add(host)
        self._names |= {who} - {""}
        self._came.append(base)
        self._news.set()
