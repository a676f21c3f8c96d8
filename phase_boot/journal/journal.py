"""The journal: one JSON line per event, to every sink, in one order (SPEC D3).

The only importer of structlog. A sink that fails is dropped and named on the
others: writing things down must never stop a boot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Final, Protocol

import structlog

from phase_boot.journal.deduplication import Deduplicator
from phase_boot.journal.event import Event
from phase_boot.journal.retention import RetainedLines
from phase_boot.journal.run_events import SinkLost, Transition
from phase_boot.machine.graph import State

PAST: Final = frozenset(
    {("transition", "elapsed"), ("fetch.done", "seconds"), ("source.served", "seconds")}
)
"""Durations that end when their event is written."""
MAX_TEXT: Final = 2000
"""Characters kept of any one text of an event, so that a peer cannot flood the journal."""


class Sink(Protocol):
    """Somewhere a line can go."""

    name: str

    def write(self, line: str) -> None:
        """Take one line, without its newline.

        Raises:
            OSError: the line is lost here.
        """

    def flush(self) -> None:
        """Return when all lines so far are as safe as this sink can make them."""


class Journal:
    """Stamps facts and hands them to the sinks."""

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        now: Callable[[], float],
        boot_id: str,
        first_seq: int = 0,
        earlier: Sequence[str] = (),
    ) -> None:
        """Write to ``sinks``; ``earlier`` are lines of a run that this one continues."""
        self._sinks = list(sinks)
        self._now = now
        self._seq = first_seq
        self._began: float | None = None
        self._at = 0.0
        self._retained = RetainedLines(earlier, boot_id=boot_id)
        self._deduplicator = Deduplicator()
        self._log = structlog.wrap_logger(
            _Fan(self._hand_out),
            processors=[_bound_texts, structlog.processors.JSONRenderer(sort_keys=False)],
            context_class=dict,
        ).bind(boot_id=boot_id)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of this boot, of many attempts the first and the newest."""
        return self._retained.lines

    def emit(self, fact: Event) -> None:
        """Write ``fact`` down, unless it is a deduplicated one that the journal has already."""
        if fact.deduplicated:
            if self._deduplicator.is_known(fact, holds=self._retained.holds):
                return
            self._deduplicator.written(fact, self._seq)
        at = self._now()
        self._began = at if self._began is None else self._began
        values = {field.name: _plain(getattr(fact, field.name)) for field in fields(fact)}
        for name in values:
            if (fact.event, name) in PAST:
                # A clock that was read wrong once must not make a duration that cannot be.
                values[name] = _plain(min(max(0.0, getattr(fact, name)), at - self._began))
        self._at = round(at, 4)
        stamps = {"seq": self._seq, "at": self._at}
        self._seq += 1
        self._log.info(fact.event, **stamps, **values)
        if isinstance(fact, Transition) and fact.source is State.SHELL:
            self._retained.next_attempt()
            self._deduplicator.next_attempt()

    def flush(self) -> None:
        """Make every sink safe, as the last thing before the jump."""
        self._for_each(lambda sink: sink.flush())

    def _hand_out(self, line: str) -> None:
        self._retained.add(line, seq=self._seq - 1, at=self._at)
        self._for_each(lambda sink: sink.write(line))

    def _for_each(self, act: Callable[[Sink], None]) -> None:
        """Do ``act`` with every sink; say which failed only when all have had their turn."""
        lost: list[SinkLost] = []
        for sink in tuple(self._sinks):
            try:
                act(sink)
            except OSError as error:
                self._sinks.remove(sink)
                lost.append(SinkLost(sink=sink.name, reason=error.strerror or str(error)))
        for loss in lost:
            self.emit(loss)


class _Fan:
    """What structlog takes for the logger underneath."""

    def __init__(self, hand_out: Callable[[str], None]) -> None:
        self.info = hand_out


def _bound_texts(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    return {
        key: value[:MAX_TEXT] if isinstance(value, str) else value for key, value in event.items()
    }


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, 4)
    return list(value) if isinstance(value, tuple) else value
