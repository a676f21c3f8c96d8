"""What a guest says on its port `org.phase_boot.events`, read line by line as typed records.

A reader of the event stream, never part of the machine. Fields it does not know are kept; a line
that is no event is kept too, as an `Unreadable`, so that nothing a guest said is lost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

PORT = "org.phase_boot.events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A line that is not an event, and why."""

    line: bytes
    reason: str
    arrived: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a guest.

    `at` is in seconds since the start of the guest's kernel, `arrived` in seconds of the host's
    monotonic clock. Their difference is the moment at which that kernel started.
    """

    name: str
    seq: int
    at: float
    arrived: float
    fields: Mapping[str, object]

    @classmethod
    def parse(cls, line: bytes, arrived: float) -> Self | Unreadable:
        """Read one line, without its newline."""
        try:
            found = json.loads(line)
        except ValueError as error:
            return Unreadable(line=line, reason=f"not JSON: {error}", arrived=arrived)
        if not isinstance(found, dict):
            return Unreadable(line=line, reason="not a JSON object", arrived=arrived)
        name, seq, at = found.get("event"), found.get("seq"), found.get("at")
        if not isinstance(name, str) or not name:
            return Unreadable(line=line, reason="`event` is no name", arrived=arrived)
        if not isinstance(seq, int) or isinstance(seq, bool):
            return Unreadable(line=line, reason="`seq` is no integer", arrived=arrived)
        if not isinstance(at, int | float) or isinstance(at, bool):
            return Unreadable(line=line, reason="`at` is no number", arrived=arrived)
        rest = {key: value for key, value in found.items() if key not in ("event", "seq", "at")}
        return cls(name=name, seq=seq, at=float(at), arrived=arrived, fields=rest)

    def text(self, field: str) -> str:
        """The field as text; empty when it is absent or null."""
        value = self.fields.get(field)
        return "" if value is None else str(value)

    def number(self, field: str) -> float:
        """The field as a number.

        Raises TypeError, naming the event and the field, if it is absent or no number.
        """
        value = self.fields.get(field)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"`{self.name}` has no number `{field}`: {value!r}.")
        return float(value)

    @property
    def kernel_started(self) -> float:
        """When the kernel that says this was started, by the host's monotonic clock."""
        return self.arrived - self.at


class LineReader:
    """Cuts a stream of bytes into lines; what a kexec tore off stays its own, unreadable line."""

    def __init__(self, *, longest: int = 1 << 20) -> None:
        self._rest = b""
        self._longest = longest

    def feed(self, data: bytes, arrived: float | None = None) -> list[Event | Unreadable]:
        """Take `data` and return the events that it completed.

        `arrived` is in seconds of the host's monotonic clock; now, when it is not given.
        """
        moment = time.monotonic() if arrived is None else arrived
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > self._longest:
            lines.append(self._rest)
            self._rest = b""
        return [Event.parse(line, moment) for line in lines if line.strip(b"\r\0 ")]
