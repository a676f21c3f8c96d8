"""The journal: stamps each event and hands the record to every sink, in one order (SPEC D3).

The only importer of structlog, whose processors make the record of an event. A sink that fails is
removed, and the others get an event that names it: a failed write must never stop a boot.

A machine that waits for weeks makes thousands of attempts. The journal in memory keeps the first
attempt and the newest ones. Each ends where the next begins, in Init, so whole attempts can be left
out and `replay` still accepts the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, Protocol

import structlog

from phase_boot.journal.content_events import FetchProgress
from phase_boot.journal.event import Event
from phase_boot.journal.record import Record, decoded
from phase_boot.journal.run_events import JournalCut, SinkLost, Transition
from phase_boot.machine.graph import State

PAST: Final = frozenset(
    {("transition", "elapsed"), ("fetch.done", "seconds"), ("source.served", "seconds")}
)
"""Durations, as event and field, that end when their event is written."""
MAX_TEXT: Final = 2000
"""Characters kept of each text field, so that a peer cannot flood the journal."""
MAX_EVENTS: Final = 1000
"""Newest events that are kept as fields, for the Shell; progress does not count."""


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
        self._newest = deque(_events_in(earlier), maxlen=MAX_EVENTS)
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

    @property
    def newest(self) -> tuple[Mapping[str, object], ...]:
        """The fields of the newest events, at most `MAX_EVENTS`, oldest first."""
        return tuple(self._newest)

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
        if not isinstance(record.event, FetchProgress):
            self._newest.append(record.fields)
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


def _events_in(earlier: Sequence[str]) -> Iterator[Mapping[str, object]]:
    """Yield the fields of the newest events in lines of another process, without progress."""
    for line in earlier[-MAX_EVENTS:]:
        event = decoded(line)
        if event is not None and event.get("event") != FetchProgress.event:
            yield event


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


MAX_LINES: Final = 6000
"""Lines that are kept, unless one attempt alone has more."""


class RetainedLines:
    """Lines by attempt; the first attempt is always kept."""

    def __init__(self, earlier: Sequence[str], *, boot_id: str, limit: int = MAX_LINES) -> None:
        """Begin after the lines of a run that this one continues."""
        self._first = list(earlier)
        self._later: deque[list[str]] = deque()
        self._boot_id = boot_id
        self._limit = limit
        self._count = len(self._first)
        self._cut_seq, self._cut_at = 0, 0.0
        self._cut = 0
        self._seq, self._at = 0, 0.0

    def add(self, record: Record) -> None:
        """Keep the line of a record; over the limit, drop the oldest attempts except the first."""
        (self._later[-1] if self._later else self._first).append(record.line)
        self._seq, self._at = record.seq, record.at
        self._count += 1
        while self._count > self._limit and len(self._later) > 1:
            dropped = len(self._later.popleft())
            self._cut += dropped
            self._count -= dropped

    def next_attempt(self) -> None:
        """Assign all following lines to a new attempt."""
        if not self._later:
            self._cut_seq, self._cut_at = self._seq + 1, self._at
        self._later.append([])

    def holds(self, seq: int) -> bool:
        """Return whether the line with the number ``seq`` is kept."""
        return not self._cut_seq <= seq < self._cut_seq + self._cut

    @property
    def lines(self) -> tuple[str, ...]:
        """All kept lines, with one `journal.cut` in place of the dropped ones."""
        lines = list(self._first)
        if self._cut:
            lines.append(self._cut_line())
        for attempt in self._later:
            lines += attempt
        return tuple(lines)

    def _cut_line(self) -> str:
        event = JournalCut(lines=self._cut)
        return Record(event=event, boot_id=self._boot_id, seq=self._cut_seq, at=self._cut_at).line


class Deduplicator:
    """The deduplicated events of the present attempt and of the previous one.

    An event is news if neither attempt had it, or if its line was dropped from the journal since.
    So the memory is bounded by the events of two attempts.
    """

    def __init__(self) -> None:
        self._previous: dict[Event, int] = {}
        self._present: dict[Event, int] = {}

    def is_known(self, event: Event, *, holds: Callable[[int], bool]) -> bool:
        """Return whether ``event`` is no news; remember that the present attempt has it too.

        ``holds`` returns whether the journal still has the line of a sequence number.
        """
        seq = self._present.get(event, self._previous.get(event))
        if seq is None or not holds(seq):
            return False
        self._present[event] = seq
        return True

    def written(self, event: Event, seq: int) -> None:
        """Remember the sequence number of ``event``."""
        self._present[event] = seq

    def next_attempt(self) -> None:
        """Begin a new attempt."""
        self._previous, self._present = self._present, {}
