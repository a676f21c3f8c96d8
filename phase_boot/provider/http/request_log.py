"""Rate limit of request events, so that no client fills a disk or hides the others.

As with journald's RateLimitBurst=, events over the limit are counted, and the count is emitted at
the end of the interval. Every request is answered all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from phase_boot.journal.event import Event
from phase_boot.provider.addresses import client_address
from phase_boot.provider.events import (
    Emit,
    ReceiptKept,
    RequestAnswered,
    RequestsSuppressed,
)
from phase_boot.provider.limits import Limits

MAX_CLIENTS: Final = 1024
"""Client networks with counters of their own per interval; others share one."""
MAX_TEXT: Final = 256
"""Characters of each text in an event that a client chooses."""
_OTHERS: Final = ""
_Line: TypeAlias = RequestAnswered | ReceiptKept


@dataclass(slots=True)
class _Client:
    """Counters of one client network in the current interval."""

    lines: set[object] = field(default_factory=set)
    requests: int = 0
    receipts: int = 0
    bytes: int = 0
    errors: int = 0

    def suppress(self, line: _Line) -> None:
        if isinstance(line, ReceiptKept):
            self.receipts += 1
            return
        self.requests += 1
        self.bytes += line.bytes
        self.errors += line.error is not None

    def add(self, other: _Client) -> None:
        self.requests += other.requests
        self.receipts += other.receipts
        self.bytes += other.bytes
        self.errors += other.errors


class RequestLog:
    """Implements `events.Emit` before another one.

    In an interval of `Limits.log_seconds`, requests of one client network with the same method,
    path, status and error get one line, one network gets at most `log_lines_per_address`, and all
    together `log_lines`. Call it in an event loop, and `close` it at the end.
    """

    def __init__(self, emit: Emit, limits: Limits) -> None:
        self._emit = emit
        self._limits = limits
        self._clients: dict[str, _Client] = {}
        self._lines = 0
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, event: Event) -> None:
        """Emit ``event``, or count it."""
        if not isinstance(event, RequestAnswered | ReceiptKept):
            self._emit(event)
            return
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limits.log_seconds, self._end)
        line = _short(event)
        client = self._client(line.peer)
        if self._may_write(client, line):
            client.lines.add(_kind(line))
            self._lines += 1
            self._emit(line)
        else:
            client.suppress(line)

    def close(self) -> None:
        """Emit the summaries of the current interval and end it."""
        if self._timer is not None:
            self._timer.cancel()
            self._end()

    def _client(self, peer: str) -> _Client:
        network = client_address(peer).network
        if network not in self._clients and len(self._clients) >= MAX_CLIENTS:
            network = _OTHERS
        return self._clients.setdefault(network, _Client())

    def _may_write(self, client: _Client, line: _Line) -> bool:
        return (
            self._lines < self._limits.log_lines
            and len(client.lines) < self._limits.log_lines_per_address
            and _kind(line) not in client.lines
        )

    def _end(self) -> None:
        clients, self._clients = self._clients, {}
        self._lines, self._timer = 0, None
        for line in _summaries(clients, self._limits):
            self._emit(line)


def _summaries(clients: dict[str, _Client], limits: Limits) -> Iterable[RequestsSuppressed]:
    """Yield a summary for each network with the most suppressed lines, and one for all others."""
    others = clients.pop(_OTHERS, _Client())
    suppressed = [
        (network, each) for network, each in clients.items() if each.requests + each.receipts
    ]
    suppressed.sort(key=lambda named: named[1].requests + named[1].receipts, reverse=True)
    for _, each in suppressed[limits.log_summaries :]:
        others.add(each)
    summaries = [*suppressed[: limits.log_summaries], (_OTHERS, others)]
    for network, each in summaries:
        if each.requests + each.receipts:
            yield RequestsSuppressed(
                peer=network,
                requests=each.requests,
                receipts=each.receipts,
                bytes=each.bytes,
                errors=each.errors,
                seconds=limits.log_seconds,
            )


def _kind(line: _Line) -> object:
    """Return the key by which lines count as duplicates."""
    if isinstance(line, ReceiptKept):
        return line
    return (line.method, line.path, line.status, line.error)


def _short(line: _Line) -> _Line:
    if isinstance(line, ReceiptKept):
        return line
    error = line.error[:MAX_TEXT] if line.error is not None else None
    return replace(line, method=line.method[:MAX_TEXT], path=line.path[:MAX_TEXT], error=error)
