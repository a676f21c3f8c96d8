"""Handing on to others what this machine is fetching, from the process that reads the network."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from phase_boot.ports.neighbours import Share
from phase_boot.provider.limits import Limits
from phase_boot.provider.listen import BACKLOG
from policies.model import Reach

LIMITS: Final = Limits(connections=128, connections_of_an_address=96)
"""A machine that boots has little memory, and other things to do."""
_SERVER: Final = ("phase_boot.provider.door", "phase_boot.provider.answers")


if TYPE_CHECKING:
    from phase_boot.provider.partial import PartialGoods


class Teller(Protocol):
    """Speaks to a provider; see `ports.neighbours.Neighbours.tell`."""

    def tell(self, url: str, body: bytes, *, limit: int, reach: Reach) -> Awaitable[bytes]:
        """Send ``body`` there and return the answer."""


class Handing:
    """Implements `ports.neighbours.Hand`, over sockets that are bound and do not listen yet.

    They listen from the first artifact on that is handed on. The server behind them takes long to
    import on a slow machine, so it is made when somebody calls.
    """

    def __init__(self, sockets: Sequence[socket.socket], teller: Teller) -> None:
        """Take the sockets, which are closed in the end, and who speaks for us."""
        self._sockets = sockets
        self._teller = teller
        self._goods: PartialGoods | None = None
        self._opening: asyncio.Task[None] | None = None
        self._listeners: list[asyncio.Server] = []

    def share(self, share: Share, file: int, marks: int) -> None:
        """Hand on what is marked of a file; both descriptors are its own from here on."""
        if self._goods is None:
            from phase_boot.provider.partial import PartialGoods  # noqa: PLC0415 - not while booting

            self._goods = PartialGoods()
            self._listen()
        self._goods.share(share, file, marks)

    def clear(self) -> None:
        """Hand on nothing any more, and close what it was given."""
        if self._goods is not None:
            self._goods.clear()

    async def tell(self, url: str, body: bytes, *, limit: int, reach: Reach) -> bytes:
        """Do what `Neighbours.tell` says."""
        return await self._teller.tell(url, body, limit=limit, reach=reach)

    async def close(self) -> None:
        """Answer nobody any more."""
        self._stop_waiting()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        for one in self._sockets:
            one.close()

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            one.setblocking(False)  # noqa: FBT003 - the standard library's own signature
            one.listen(BACKLOG)
            loop.add_reader(one, self._called)

    def _called(self) -> None:
        """Somebody waits at a socket: make the server that answers."""
        self._stop_waiting()
        self._opening = asyncio.create_task(self._open())

    def _stop_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            if one.fileno() >= 0:
                loop.remove_reader(one)

    async def _open(self) -> None:
        door, answers = [await asyncio.to_thread(importlib.import_module, name) for name in _SERVER]
        asked = answers.Answers(self._goods, LIMITS, _silent)
        server = door.make_server(asked, LIMITS, _silent)
        loop = asyncio.get_running_loop()
        for one in self._sockets:
            self._listeners.append(await loop.create_server(door.Door(server, LIMITS), sock=one))


def _silent(event: object) -> None:
    """Tell nobody: what this process says reaches no journal."""
