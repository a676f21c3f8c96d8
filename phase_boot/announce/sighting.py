"""Compares the record that a server has with the record of the SITE."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Final

from phase_boot.adapters.http.exchange import Answer
from phase_boot.announce.kubo_rpc import SHOWN
from phase_boot.console.lines import printable
from phase_boot.publish.dates import rfc3339
from phase_boot.store.layout import RECORD_TYPE
from phase_boot.trust.ipns_record import IpnsRecord, read_record, verify_record
from phase_boot.trust.record_refusals import RecordExpired
from phase_boot.trust.refusals import Refusal

_PLAIN: Final = "text/plain"
_OLDEST: Final = timedelta(days=3650)
"""Age up to which a sequence is read as the Unix time of the signature."""
_AHEAD: Final = timedelta(minutes=5)
"""How far it may be in the future, where clocks differ or runs follow each other at once."""
_MANY_DAYS: Final = 3


class State(StrEnum):
    """The record of a server, compared with that of the SITE."""

    OURS = auto()
    HELD = auto()
    """Our record in a kubo node that could not put it into the DHT."""
    OLDER = auto()
    NEWER = auto()
    OTHER = auto()
    """Other bytes with the same sequence and validity."""
    EXPIRED = auto()
    ABSENT = auto()
    INVALID = auto()
    """No valid record of the name."""
    UNTYPED = auto()
    """Our record under a media type that clients refuse."""
    UNREACHABLE = auto()
    """No answer, or none that holds a record."""


_TEXTS: Final = {
    State.OURS: "has our record",
    State.HELD: "has our record and could not pass it on",
    State.OLDER: "has an older record",
    State.NEWER: "has a newer record",
    State.OTHER: "has another record of the same time",
    State.EXPIRED: "has an expired record",
    State.ABSENT: "has no record",
    State.INVALID: "sent no valid record",
    State.UNTYPED: "has our record with a wrong Content-Type",
    State.UNREACHABLE: "could not be read",
}
_AGAIN: Final = "run `phase-boot announce` again"
_ONE_PUBLISHER: Final = (
    "announce from one SITE only, or replace a stolen key with `phase-boot root rotate`"
)
_WAYS_OUT: Final = {
    State.HELD: f"connect the node with others (`ipfs swarm connect`), and {_AGAIN}",
    State.OLDER: f"{_AGAIN}, or copy the SITE again; leave the server out if it keeps that record",
    State.NEWER: _ONE_PUBLISHER,
    State.OTHER: _ONE_PUBLISHER,
    State.EXPIRED: f"{_AGAIN}, and more often than its validity",
    State.ABSENT: f"{_AGAIN} with a --router or --kubo that passes it on, or copy the SITE again",
    State.INVALID: "check the URL",
    State.UNTYPED: f"let it send the files as {RECORD_TYPE} (docs/mirrors.md)",
    State.UNREACHABLE: "check the URL, and try again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What a server has under the name of ``ours``.

    Attributes:
        kind: `router`, `kubo`, `gateway`, `mirror` or `site`.
        place: its URL, or the folder of the SITE.
        ours: the record of the SITE.
        now: when it was read.
        record: the record that it has, if the signature is valid.
        reason: why the state is as it is, where that is not plain from the state.
        answered: how the server answered when the record was put there.
    """

    kind: str
    place: str
    ours: IpnsRecord
    now: datetime
    state: State
    record: IpnsRecord | None = None
    reason: str = ""
    answered: str = ""

    @property
    def good(self) -> bool:
        """Whether the server has the record of the SITE, as clients accept it."""
        return self.state is State.OURS

    @property
    def age(self) -> timedelta | None:
        """Time since the signature, if the sequence is the Unix time of it, as ours are."""
        if self.record is None:
            return None
        seconds = self.now.timestamp() - self.record.sequence
        if not -_AHEAD.total_seconds() < seconds < _OLDEST.total_seconds():
            return None
        return timedelta(seconds=max(0.0, seconds))

    def line(self) -> str:
        """Return it as one line: the server, what it has, and the way out."""
        mark = "ok " if self.good else "BAD"
        what = _TEXTS[self.state]
        if self.reason:
            what += f" ({self.reason})"
        if self.record is not None:
            what += f", {self._facts(self.record)}"
        if not self.good and self.answered not in {"", self.reason}:
            what += f"; when it was sent ours, {self.answered}"
        way_out = _WAYS_OUT.get(self.state)
        return f"{mark} {self.kind} {self.place}: {what}{'' if way_out is None else f': {way_out}'}"

    def as_json(self) -> str:
        """Return it as one line of JSON."""
        record, age = self.record, self.age
        left = None if record is None else round((record.validity - self.now).total_seconds())
        return json.dumps(
            {
                "name": str(self.ours.name),
                "kind": self.kind,
                "place": self.place,
                "state": self.state,
                "good": self.good,
                "sequence": None if record is None else record.sequence,
                "age_seconds": None if age is None else round(age.total_seconds()),
                "validity": None if record is None else rfc3339(record.validity),
                "left_seconds": left,
                "reason": self.reason,
                "answered": self.answered,
            }
        )

    def _facts(self, record: IpnsRecord) -> str:
        age, left = self.age, record.validity - self.now
        made = "" if age is None else f"signed {_span(age)} ago, "
        until = f"valid for {_span(left)}" if left > timedelta() else f"expired {_span(-left)} ago"
        return f"sequence {record.sequence}, {made}{until}"


def judge(unjudged: Sighting, answer: Answer | None) -> Sighting:
    """Return the sighting with the state that the server's ``answer`` has."""
    if answer is None:
        return replace(unjudged, state=State.ABSENT)
    ours, now = unjudged.ours, unjudged.now
    try:
        record = verify_record(answer.body, ours.name, now)
    except Refusal as refusal:
        return _judge_refused(unjudged, answer, refusal)
    state = State.OTHER
    if record.raw == ours.raw:
        state = State.OURS if answer.kind == RECORD_TYPE else State.UNTYPED
    elif record.newer_than(ours):
        state = State.NEWER
    elif ours.newer_than(record):
        state = State.OLDER
    reason = printable(answer.kind)[:SHOWN] if state is State.UNTYPED else ""
    return replace(unjudged, state=state, record=record, reason=reason)


def _judge_refused(unjudged: Sighting, answer: Answer, refusal: Refusal) -> Sighting:
    if isinstance(refusal, RecordExpired):
        expired = read_record(answer.body, unjudged.ours.name)
        return replace(unjudged, state=State.EXPIRED, record=expired)
    if answer.kind == _PLAIN:
        # kubo's delegated router answers 200 and a sentence for a name that it cannot find.
        return replace(unjudged, state=State.ABSENT)
    if answer.kind != RECORD_TYPE:
        return replace(unjudged, state=State.INVALID, reason=printable(answer.kind)[:SHOWN])
    return replace(unjudged, state=State.INVALID, reason=str(refusal).removesuffix("."))


def _span(span: timedelta) -> str:
    """Return a span in its two largest units."""
    seconds = int(span.total_seconds())
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours >= _MANY_DAYS * 24:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
