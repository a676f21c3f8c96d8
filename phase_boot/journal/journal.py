"""The journal: stamps each event and hands the record to every sink, in one order (SPEC D3).

The only importer of structlog, whose processors make the record of an event. A sink that fails is
removed, and the others get an event that names it: a failed write must never stop a boot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Final, Protocol

import structlog

from phase_boot.journal.deduplication import Deduplicator
from phase_boot.journal.event import Event
from phase_boot.journal.record import Record
from phase_boot.journal.retention import RetainedLines
from phase_boot.journal.run_events import SinkLost, Transition
from phase_boot.machine.graph import State

PAST: Final = frozenset(
    {("transition", "elapsed"), ("fetch.done", "seconds"), ("source.served", "seconds")}
)
"""Durations, as event and field, that end when their event is written."""
MAX_TEXT: Final = 2000
"""Characters kept of each text field, so that a peer cannot flood the journal."""
MAX_EARLIER: Final = 1024 * 1024
"""Bytes of the previous run's journal that a daemon reads, and whose lines it counts."""


class Sink(Protocol):
    """An output of the journal."""

    name: str

    def write(self, record: Record) -> None:
        """Write one record.

        Raises:
            OSError: the record is lost in this sink.
        """

    def flush(self) -> None:
        """Make all records so far as durable as this sink can."""


class Journal:
    """Stamps events and hands their records to the sinks."""

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
        self._retained = RetainedLines(earlier, boot_id=boot_id)
        self._deduplicator = Deduplicator()
        self._log = structlog.wrap_logger(
            _FanOut(self._hand_out),
            processors=[self._clamp_durations, _cut_texts, _as_record],
            context_class=dict,
        ).bind(boot_id=boot_id)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of this boot; of many attempts the first and the newest."""
        return self._retained.lines

    def emit(self, event: Event) -> None:
        """Write ``event``, unless it is a deduplicated one that the journal still holds."""
        if event.deduplicated:
            if self._deduplicator.is_known(event, holds=self._retained.holds):
                return
            self._deduplicator.written(event, self._seq)
        at, seq = self._now(), self._seq
        self._began = at if self._began is None else self._began
        self._seq += 1
        self._log.info(event.event, fact=event, seq=seq, at=at)
        if isinstance(event, Transition) and event.source is State.SHELL:
            self._retained.next_attempt()
            self._deduplicator.next_attempt()

    def flush(self) -> None:
        """Flush every sink, as the last step before the jump."""
        self._for_each(lambda sink: sink.flush())

    def _clamp_durations(
        self, _logger: object, _method: str, entry: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Limit the durations of an event to the time since the run began.

        A wrong reading of the clock must not make a duration that a replay refuses.
        """
        event, passed = entry["fact"], entry["at"] - (self._began or 0.0)
        clamped = {
            field.name: min(max(0.0, getattr(event, field.name)), passed)
            for field in fields(event)
            if (event.event, field.name) in PAST
        }
        return {**entry, "fact": replace(event, **clamped)} if clamped else entry

    def _hand_out(self, record: Record) -> None:
        self._retained.add(record)
        self._for_each(lambda sink: sink.write(record))

    def _for_each(self, act: Callable[[Sink], None]) -> None:
        """Call ``act`` with every sink; emit the failures after all had their turn."""
        lost: list[SinkLost] = []
        for sink in tuple(self._sinks):
            try:
                act(sink)
            except OSError as error:
                self._sinks.remove(sink)
                lost.append(SinkLost(sink=sink.name, reason=error.strerror or str(error)))
        for loss in lost:
            self.emit(loss)


class _FanOut:
    """The logger that structlog wraps: it takes what the last processor returns."""

    def __init__(self, hand_out: Callable[[Record], None]) -> None:
        self.info = hand_out


def _cut_texts(
    _logger: object, _method: str, entry: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Cut each text of an event to `MAX_TEXT` characters."""
    event = entry["fact"]
    texts = {field.name: getattr(event, field.name) for field in fields(event)}
    cut = {
        name: text[:MAX_TEXT]
        for name, text in texts.items()
        if isinstance(text, str) and len(text) > MAX_TEXT
    }
    return {**entry, "fact": replace(event, **cut)} if cut else entry


def _as_record(
    _logger: object, _method: str, entry: structlog.typing.EventDict
) -> tuple[tuple[Record], dict[str, Any]]:
    """Return the arguments of `_FanOut.info`, as structlog expects them of its last processor."""
    stamps = {name: entry[name] for name in ("boot_id", "seq", "at")}
    return (Record(event=entry["fact"], **stamps),), {}
