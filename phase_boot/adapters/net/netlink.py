"""Waits for changes of interfaces, addresses and routes (rtnetlink(7))."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Final, Self

_RTMGRP_LINK: Final = 0x1
_RTMGRP_IPV4_IFADDR: Final = 0x10
_RTMGRP_IPV4_ROUTE: Final = 0x40
_RTMGRP_IPV6_IFADDR: Final = 0x100
_RTMGRP_IPV6_ROUTE: Final = 0x400
_GROUPS: Final = (
    _RTMGRP_LINK
    | _RTMGRP_IPV4_IFADDR
    | _RTMGRP_IPV4_ROUTE
    | _RTMGRP_IPV6_IFADDR
    | _RTMGRP_IPV6_ROUTE
)
MAX_DATAGRAM: Final = 65536
_MAX_DATAGRAMS: Final = 256
"""Datagrams read at once, at most."""
SETTLE_SECONDS: Final = 0.02
"""Delay that collects the several notifications of one change."""
POLL_SECONDS: Final = 0.05
"""Poll interval without netlink."""
CHECK_SECONDS: Final = 2.0
"""Longest wait with netlink, because a full buffer loses notifications."""


class NetworkChanges:
    """Waits until interfaces of this network namespace may have changed.

    Needs no privilege. Without netlink it polls.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Subscribe, so that no change after this call is missed."""
        with contextlib.suppress(OSError):
            channel = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
            try:
                channel.bind((0, _GROUPS))
            except OSError:
                channel.close()
                raise
            self._socket = channel
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unsubscribe."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def wait(self) -> None:
        """Return after a notification or a timeout."""
        if self._socket is None:
            await asyncio.sleep(POLL_SECONDS)
            return
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._socket, news.set)
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await news.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(self._socket)
        await asyncio.sleep(SETTLE_SECONDS)
        self._drain(self._socket)

    def _drain(self, channel: socket.socket) -> None:
        """Discard queued notifications; the caller reads the new state itself."""
        for _ in range(_MAX_DATAGRAMS):
            try:
                channel.recv(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                # ENOBUFS: notifications were lost, which also means a change.
                continue
