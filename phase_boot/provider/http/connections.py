"""The table of open connections: bounded in all and per client network, with eviction."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final

from phase_boot.provider.addresses import ClientAddress, client_address
from phase_boot.provider.eviction import Entry, victim
from phase_boot.provider.limits import Limits

_SENT_AGO: Final = struct.Struct("=44xI")
"""`tcpi_last_data_sent` of struct tcp_info (linux/tcp.h): milliseconds since data was sent."""
_ACKED: Final = struct.Struct("=120xQ")
"""`tcpi_bytes_acked` of it: sent bytes that the client has acknowledged."""
_UNACKED: Final = struct.Struct("=24xI")
"""`tcpi_unacked`: packets that the client has not acknowledged."""
_UNSENT: Final = struct.Struct("=144xI")
"""`tcpi_notsent_bytes`: bytes queued but not sent."""
_INFO_BYTES: Final = 148
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing discards what was not sent."""


@dataclass(frozen=True, slots=True)
class Progress:
    """TCP progress of a connection: bytes acknowledged, and seconds since data was sent.

    ``outstanding`` is whether sent or queued bytes are not yet acknowledged.
    """

    acknowledged: int
    silent_seconds: float
    outstanding: bool = False


def kernel_progress(transport: asyncio.BaseTransport) -> Progress:
    """Return the progress of a TCP connection; zero for a closed one."""
    found = transport.get_extra_info("socket")
    try:
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        (sent_ago,), (acknowledged,) = _SENT_AGO.unpack_from(info), _ACKED.unpack_from(info)
        (unacked,), (unsent,) = _UNACKED.unpack_from(info), _UNSENT.unpack_from(info)
    except (OSError, AttributeError, struct.error):
        return Progress(0, float("inf"))
    return Progress(acknowledged, sent_ago / 1000, bool(unacked or unsent))


def cut(transport: asyncio.BaseTransport) -> None:
    """End a connection at once, whatever its handler is doing; the client sees a reset.

    `Transport.abort` would close the descriptor while `sendfile` may still use its number. After
    the shutdown each read and write fails, and the handler closes the transport.
    """
    found = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        found.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class _Open:
    client: ClientAddress
    since: float


class Connections:
    """The open connections of a provider.

    A connection counts as idle, and is evicted before others, if nothing was sent on it in its
    first `Limits.unused_seconds`, nothing for the last `Limits.idle_seconds`, or on average less
    than `Limits.slow_bytes_per_second`. A connection that waits for a response, and has
    acknowledged all of it so far, is in use: a busy provider is not its client's fault.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        answering: Container[asyncio.BaseTransport] = (),
        progress: Callable[[asyncio.BaseTransport], Progress] = kernel_progress,
    ) -> None:
        self._limits = limits
        self._answering = answering
        self._progress = progress
        self._open: dict[asyncio.Transport, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, transport: asyncio.Transport, address: str, now: float) -> bool:
        """Add a connection from ``address`` and return True, or return False to refuse it.

        The connection that has to make room, if any, is cut.
        """
        self._forget_closed()
        client, limits = client_address(address), self._limits
        mine = sum(each.client.network == client.network for each in self._open.values())
        crowded = mine >= limits.connections_per_address
        if crowded or len(self._open) >= limits.connections:
            evicted = victim(self._entries(now), client, same_network=crowded)
            if evicted is None:
                return False
            del self._open[evicted]
            cut(evicted)
        self._open[transport] = _Open(client, now)
        return True

    def _forget_closed(self) -> None:
        for transport in [each for each in self._open if each.is_closing()]:
            del self._open[transport]

    def _entries(self, now: float) -> list[Entry[asyncio.Transport]]:
        return [
            Entry(transport, each.client, self._is_idle(transport, now - each.since), each.since)
            for transport, each in self._open.items()
        ]

    def _is_idle(self, transport: asyncio.BaseTransport, age: float) -> bool:
        limits = self._limits
        if age < limits.unused_seconds:
            return False
        progress = self._progress(transport)
        if transport in self._answering and not progress.outstanding:
            return False
        if age < limits.idle_seconds:
            return not progress.acknowledged
        slow = progress.acknowledged < age * limits.slow_bytes_per_second
        return slow or progress.silent_seconds >= limits.idle_seconds
